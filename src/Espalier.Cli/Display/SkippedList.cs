using Espalier.Data;

namespace Espalier.Cli.Display;

/// <summary>What of a data set was not used, one line each.</summary>
internal static class SkippedList
{
    /// <param name="most">Lines at most, besides the first and one that says how many more there are.</param>
    public static IEnumerable<string> Lines(IReadOnlyCollection<SkippedFile> files, int most = int.MaxValue)
    {
        if (files.Count == 0) yield break;
        int pictures = files.Count(f => f.IsPicture);
        yield return pictures == 0 ? "not used:" : $"not used, of these {pictures} that should be images:";
        foreach (SkippedFile file in files.Take(most)) yield return $"  {file.Path}: {file.Reason}";
        if (files.Count > most) yield return $"  and {files.Count - most} more; 'espalier data check' names all of them";
    }
}
