using Espalier.Imaging;

namespace Espalier.Data;

/// <summary>Looks into folders as people have them, with what systems and tools leave there.</summary>
internal static class ClassFolder
{
    /// <summary>What archives, synchronisation and file systems make. Names that begin with a dot are hidden anyway.</summary>
    private static readonly string[] Junk =
        ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"];

    /// <summary>The folders in a folder that are not hidden, in ordinal order; links to folders count.</summary>
    public static string[] Folders(string directory) => [.. Entries(directory).Where(e => e is DirectoryInfo).Select(e => e.Name)
        .Order(StringComparer.Ordinal)];

    /// <summary>Whether the folder itself has pictures.</summary>
    public static bool HasPictures(string directory) =>
        Entries(directory).Any(e => e is FileInfo && ImageSignature.IsPictureName(e.Name));

    /// <summary>
    /// All pictures of a class in ordinal order of their paths, sub-folders included. Links to folders are not followed
    /// there: one that leads upwards would give a class the others' pictures.
    /// </summary>
    /// <param name="skipped">Is told of pictures of a kind that is not read and of links that are not followed.</param>
    public static string[] Pictures(string directory, SkippedFiles skipped)
    {
        var found = new List<string>();
        Collect(directory, found, skipped);
        found.Sort(StringComparer.Ordinal);
        return [.. found];
    }

    private static void Collect(string directory, List<string> found, SkippedFiles skipped)
    {
        foreach (FileSystemInfo entry in Entries(directory))
        {
            string path = Path.Combine(directory, entry.Name);
            bool link = entry.Attributes.HasFlag(FileAttributes.ReparsePoint);
            if (entry is DirectoryInfo && !link) Collect(path, found, skipped);
            else if (entry is DirectoryInfo) skipped.Add(path, "a link to a folder, which is not followed in a class", false);
            else if (!ImageSignature.IsPictureName(path)) continue;
            else if (link && !LeadsToFile(entry)) skipped.Add(path, "a link that leads to no file");
            else if (ImageSignature.IsReadableName(path)) found.Add(path);
            else skipped.Add(path, $"{entry.Extension[1..].ToUpperInvariant()} images are not read; convert them to PNG");
        }
    }

    private static bool LeadsToFile(FileSystemInfo link)
    {
        try
        {
            return link.ResolveLinkTarget(returnFinalTarget: true) is FileInfo { Exists: true };
        }
        catch (IOException)
        {
            return false;       // links in a circle
        }
    }

    private static FileSystemInfo[] Entries(string directory)
    {
        try
        {
            return [.. new DirectoryInfo(directory).EnumerateFileSystemInfos()
                .Where(e => e.Name[0] != '.' && !Junk.Contains(e.Name))];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{directory}: the folder cannot be read: {e.Message}", e);
        }
    }
}
