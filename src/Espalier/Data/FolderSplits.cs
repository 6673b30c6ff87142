namespace Espalier.Data;

/// <summary>Which folders of a data set are for training, for choosing and for testing.</summary>
/// <param name="Train">Null where only the others are there; the folder itself where it has no splits.</param>
internal sealed record FolderSplits(string? Train, string? Validation, string? Test)
{
    private static readonly string[] TrainNames = ["train", "training"], TestNames = ["test", "testing"],
        ValidationNames = ["val", "valid", "validation", "dev", "eval"];

    /// <summary>
    /// Finds splits by their usual names, in any case. A folder of such a name is a split if it holds folders, or stands
    /// beside one that does; else it is a class like others.
    /// </summary>
    /// <param name="skipped">Is told of folders beside splits that are none.</param>
    /// <exception cref="EspalierException">Two folders are the same split.</exception>
    public static FolderSplits Of(string directory, SkippedFiles skipped)
    {
        string[] names = ClassFolder.Folders(directory);
        string?[] splits = [One(TrainNames), One(ValidationNames), One(TestNames)];
        if (!splits.Any(s => s is not null && ClassFolder.Folders(s).Length > 0 && !ClassFolder.HasPictures(s)))
            return new FolderSplits(directory, null, null);
        foreach (string other in names.Select(n => Path.Combine(directory, n)).Where(f => !splits.Contains(f)))
            if (ClassFolder.Folders(other).Length > 0 || ClassFolder.HasPictures(other))
                skipped.Add(other, "neither train, val nor test", isPicture: false);
        return new FolderSplits(splits[0], splits[1], splits[2]);

        string? One(string[] known)
        {
            string[] found = [.. names.Where(n => known.Contains(n, StringComparer.OrdinalIgnoreCase))];
            if (found.Length > 1)
                throw new EspalierException(
                    $"{directory}: {string.Join(" and ", found)} are the same split; remove or rename one.");
            return found.Length == 0 ? null : Path.Combine(directory, found[0]);
        }
    }
}
