using System.IO.Compression;

namespace Espalier.Formats;

/// <summary>Archives of arrays as <c>numpy.savez</c> and <c>numpy.savez_compressed</c> write them.</summary>
public static class Npz
{
    private const string Suffix = ".npy";

    /// <summary>Writes float32 arrays, stored without compression, replacing the file atomically.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public static void Write(string path, IEnumerable<NamedArray> arrays) => AtomicFile.Write(path, stream =>
    {
        using var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true);
        var names = new HashSet<string>();
        foreach (NamedArray array in arrays)
        {
            if (!names.Add(array.Name)) throw new ArgumentException($"two arrays are named '{array.Name}'", nameof(arrays));
            ZipArchiveEntry entry = zip.CreateEntry(array.Name + Suffix, CompressionLevel.NoCompression);
            entry.LastWriteTime = new DateTimeOffset(1980, 1, 1, 0, 0, 0, TimeSpan.Zero);    // equal content, equal bytes
            using Stream content = entry.Open();
            Npy.Write(content, array);
        }
    });

    internal static bool Matches(ZipFileReader zip) => zip.Entries.Keys.Any(IsArray);

    /// <summary>
    /// Reads every array as floats; scalars have an empty shape. Files in the archive that are no arrays are skipped.
    /// </summary>
    internal static Checkpoint Read(ZipFileReader zip, string source)
    {
        List<NamedArray> arrays = [];
        foreach (ZipEntry entry in zip.Entries.Values)
        {
            if (!IsArray(entry.Name)) continue;
            using Stream content = zip.Open(entry);
            arrays.Add(Npy.Read(content, entry.Name[..^Suffix.Length], entry.Length));
        }
        return new Checkpoint(arrays, source: source);
    }

    private static bool IsArray(string name) => name.EndsWith(Suffix, StringComparison.Ordinal);
}
