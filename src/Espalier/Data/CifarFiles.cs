using System.IO.Compression;
using Espalier.Formats;

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
            byte[] data = new byte[Checked(file.Length, path)];
            file.ReadExactly(data);
            return data;
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
            var tar = new TarFile(unzipped);
            int missing = names.Count;
            for (int entries = 0; missing > 0 && tar.Next() is var (name, length); entries++)
            {
                if (entries == MaxEntries)
                    throw new EspalierException($"{path}: more than {MaxEntries} files; not the published archive.");
                int index = names.ToList().FindIndex(n => name.TrimStart('.', '/') == $"{folder}/{n}");
                if (index < 0 || found[index] != null) continue;
                found[index] = tar.Read(Checked(length, $"{path}, {name}"));
                missing--;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException or OverflowException)
        {
            throw new EspalierException($"{path}: damaged or truncated archive: {e.Message}", e);
        }
        int absent = Array.IndexOf(found, null);
        if (absent >= 0) throw new EspalierException($"{path}: no {folder}/{names[absent]} in it; not the published archive.");
        return found!;
    }

    private static long Checked(long length, string name) => length is >= 0 and <= MaxFileBytes ? length
        : throw new EspalierException($"{name}: {length} bytes is more than any file of the data set; get the published one.");
}
