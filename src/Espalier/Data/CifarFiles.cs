using System.Formats.Tar;
using System.IO.Compression;

namespace Espalier.Data;

/// <summary>Finds named files in an extracted folder or straight in a .tar.gz, and reads each whole.</summary>
internal static class CifarFiles
{
    private const long MaxFileBytes = 256L << 20;
    private const int MaxEntries = 1000;

    /// <summary>The contents, in the order of <paramref name="names"/>.</summary>
    /// <exception cref="EspalierException">One is missing, or larger than any file of the data set.</exception>
    public static byte[][] ReadFolder(string folder, IReadOnlyList<string> names) => [.. names.Select(name =>
    {
        string path = Path.Combine(folder, name);
        try
        {
            using var file = File.OpenRead(path);
            return ReadWhole(file, file.Length, path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{path}: cannot read: {e.Message}", e);
        }
    })];

    /// <summary>The archive's files FOLDER/name, in the order of <paramref name="names"/>; nothing is unpacked to disk.</summary>
    public static byte[][] ReadArchive(string path, string folder, IReadOnlyList<string> names)
    {
        byte[]?[] found = new byte[names.Count][];
        try
        {
            using var file = File.OpenRead(path);
            using var unzipped = new GZipStream(file, CompressionMode.Decompress);
            using var tar = new TarReader(unzipped);
            int missing = names.Count;
            for (int entries = 0; missing > 0 && tar.GetNextEntry() is { } entry; entries++)
            {
                if (entries == MaxEntries)
                    throw new EspalierException($"{path}: more than {MaxEntries} files; not the published archive.");
                int index = names.ToList().FindIndex(n => entry.Name.TrimStart('.', '/') == $"{folder}/{n}");
                if (index < 0 || entry.DataStream == null || found[index] != null) continue;
                found[index] = ReadWhole(entry.DataStream, entry.Length, $"{path}, {entry.Name}");
                missing--;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException or FormatException
            or NotSupportedException or ArgumentException or OverflowException)
        {
            // What the tar reader throws for damaged headers is not documented; all of it means a bad archive.
            throw new EspalierException($"{path}: damaged or truncated archive: {e.Message}", e);
        }
        int absent = Array.IndexOf(found, null);
        if (absent >= 0) throw new EspalierException($"{path}: no {folder}/{names[absent]} in it; not the published archive.");
        return found!;
    }

    private static byte[] ReadWhole(Stream stream, long length, string name)
    {
        if (length > MaxFileBytes)
            throw new EspalierException($"{name}: {length} bytes is more than any file of the data set; get the published one.");
        byte[] data = new byte[length];
        stream.ReadExactly(data);
        return data;
    }
}
