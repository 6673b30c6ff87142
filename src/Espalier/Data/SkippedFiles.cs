namespace Espalier.Data;

/// <summary>A file or folder that is not used.</summary>
/// <param name="IsPicture">It should have been a picture; else it is a folder that is no split, or a link to one.</param>
public sealed record SkippedFile(string Path, string Reason, bool IsPicture);

/// <summary>
/// What of an image folder is not used, and why. It is named in the end instead of ending the work, unless pictures that
/// cannot be read are to be errors. May be used by several threads.
/// </summary>
/// <param name="strict">Such pictures are errors.</param>
public sealed class SkippedFiles(bool strict = false)
{
    private readonly SortedDictionary<string, SkippedFile> files = new(StringComparer.Ordinal);

    /// <summary>In the order of the paths.</summary>
    public IReadOnlyList<SkippedFile> Files
    {
        get
        {
            lock (files) return [.. files.Values];
        }
    }

    /// <summary>Whether pictures that cannot be read are errors.</summary>
    internal bool IsStrict => strict;

    /// <summary>Notes a file or folder, once.</summary>
    /// <exception cref="EspalierException">A picture, where that is to be an error.</exception>
    internal void Add(string path, string reason, bool isPicture = true)
    {
        if (strict && isPicture) throw new EspalierException($"{path}: {reason}");
        lock (files) files.TryAdd(path, new SkippedFile(path, reason, isPicture));
    }
}
