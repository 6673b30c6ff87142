using System.Collections.Concurrent;
using System.Text;

namespace Espalier.Formats;

/// <summary>
/// Replaces a file so that after a crash, a full disk or an exception there is either the old file or the complete new one:
/// the content goes to a temporary file in the same folder, is flushed to the disk and then renamed over the old one.
/// </summary>
public static class AtomicFile
{
    /// <summary>How old a temporary file is that nobody writes any more.</summary>
    private static readonly TimeSpan Stale = TimeSpan.FromDays(1);

    /// <summary>Those that are written now, for <see cref="DeleteTemporaries"/>.</summary>
    private static readonly ConcurrentDictionary<string, bool> Temporaries = new();

    /// <summary>Writes a text, in UTF-8 without a mark.</summary>
    /// <inheritdoc cref="Write" path="/exception"/>
    public static void WriteText(string path, string text) => Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text)));

    /// <summary>Writes <paramref name="path"/> with what <paramref name="write"/> puts into the stream.</summary>
    /// <exception cref="EspalierException">
    /// The file cannot be written; the old one is untouched and no temporary is left. Exceptions of
    /// <paramref name="write"/> that are not about input or output pass through, with the same guarantee.
    /// </exception>
    public static void Write(string path, Action<Stream> write)
    {
        string? temporary = null;
        try
        {
            string target = FollowLinks(path);
            if (Directory.Exists(target)) throw new IOException("it is a folder");
            if (FileSystem.IsSpecialFile(target)) throw new IOException("it is a device or a pipe, not a regular file");
            string folder = Path.GetDirectoryName(target)!;
            DeleteStale(folder, Path.GetFileName(target));
            string name = Path.Combine(folder, $".{Path.GetFileName(target)}.{Guid.NewGuid():N}.tmp");
            var options = new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.ReadWrite,    // writers of archives go back to fill in sizes
                Share = FileShare.None,
                BufferSize = 1 << 16,
            };
            using (var stream = new FileStream(name, options))
            {
                temporary = name;
                Temporaries[name] = true;
                write(stream);
                stream.Flush(flushToDisk: true);
            }
            if (!OperatingSystem.IsWindows() && File.Exists(target)) File.SetUnixFileMode(name, File.GetUnixFileMode(target));
            FileSystem.Replace(name, target);
            Temporaries.TryRemove(name, out _);
            temporary = null;
            FileSystem.FlushFolder(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new EspalierException(
                $"{path}: could not be written ({e.Message.ReplaceLineEndings(" ")}); check free space and permissions", e);
        }
        finally
        {
            if (temporary is not null) TryDelete(temporary);
        }
    }

    /// <summary>Before a process ends in the middle of its work: what it was writing is of no use to anybody.</summary>
    internal static void DeleteTemporaries()
    {
        foreach (string path in Temporaries.Keys) TryDelete(path);
    }

    /// <summary>What processes that were killed while they wrote this file have left beside it.</summary>
    private static void DeleteStale(string folder, string name)
    {
        if (!Directory.Exists(folder)) return;
        foreach (string path in Directory.EnumerateFiles(folder, $".{name}.*.tmp"))
        {
            ReadOnlySpan<char> own = Path.GetFileName(path.AsSpan())[(name.Length + 2)..^4];
            if (own.Length == 32 && !own.ContainsAnyExcept("0123456789abcdef") && DateTime.UtcNow - File.GetLastWriteTimeUtc(path) > Stale)
                TryDelete(path);
        }
    }

    /// <summary>A link stays a link: the file it points to is the one replaced.</summary>
    private static string FollowLinks(string path)
    {
        string full = Path.GetFullPath(path);
        return File.Exists(full) ? File.ResolveLinkTarget(full, returnFinalTarget: true)?.FullName ?? full : full;
    }

    private static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
            Temporaries.TryRemove(path, out _);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The first error is the one to report.
        }
    }
}
