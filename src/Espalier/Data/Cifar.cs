namespace Espalier.Data;

/// <summary>
/// CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32 x 32 RGB pictures, 50,000 for training and 10,000 for testing. Read from the
/// binary or the Python version, extracted or straight from the .tar.gz.
/// </summary>
public static class Cifar
{
    internal static DatasetInfo Info10 { get; } =
        new("cifar10", "CIFAR-10: 32 x 32 RGB, 10 classes, 50,000 + 10,000", 3, 32, 10);

    internal static DatasetInfo Info100 { get; } =
        new("cifar100", "CIFAR-100: 32 x 32 RGB, 100 fine classes, 50,000 + 10,000", 3, 32, 100);

    private static readonly Version[] Versions10 =
    [
        new("cifar-10-batches-bin", "cifar-10-binary.tar.gz", Batches(".bin"), ["test_batch.bin"]),
        new("cifar-10-batches-py", "cifar-10-python.tar.gz", Batches(""), ["test_batch"]),
    ];

    private static readonly Version[] Versions100 =
    [
        new("cifar-100-binary", "cifar-100-binary.tar.gz", ["train.bin"], ["test.bin"]),
        new("cifar-100-python", "cifar-100-python.tar.gz", ["train"], ["test"]),
    ];

    /// <summary>One published form of a data set.</summary>
    private sealed record Version(string Folder, string Archive, string[] Train, string[] Test)
    {
        public string[] Files => [.. Train, .. Test];

        /// <summary>Where it is below a path: a folder, an archive, or null.</summary>
        public string? Find(string path)
        {
            if (File.Exists(path)) return Path.GetFileName(path) == Archive ? path : null;
            return new[] { path, Path.Combine(path, Folder) }.FirstOrDefault(f => File.Exists(Path.Combine(f, Test[0])))
                ?? new[] { Path.Combine(path, Archive) }.FirstOrDefault(File.Exists);
        }

        public byte[][] Read(string found) =>
            File.Exists(found) ? CifarFiles.ReadArchive(found, Folder, Files) : CifarFiles.ReadFolder(found, Files);
    }

    /// <summary>True where the folder has one of the forms.</summary>
    /// <param name="classes">10 or 100.</param>
    public static bool IsPresent(string directory, int classes) => VersionsOf(classes).Any(v => v.Find(directory) != null);

    /// <param name="directory">A folder with the extracted files or the archive in it, or the archive itself.</param>
    /// <param name="classes">10 or 100 (fine labels).</param>
    /// <exception cref="EspalierException">Nothing there, or damaged.</exception>
    public static DatasetPair Open(string directory, int classes)
    {
        var info = classes == 10 ? Info10 : Info100;
        foreach (var version in VersionsOf(classes))
        {
            if (version.Find(directory) is not { } found) continue;
            byte[][] files = version.Read(found);
            int train = version.Train.Length;
            return new DatasetPair(CifarRecords.Read(info, found, version.Train, files[..train]),
                CifarRecords.Read(info, found, version.Test, files[train..]), info);
        }
        var wanted = VersionsOf(classes);
        throw new EspalierException($"{directory}: no {info.Name} in it; it must hold {wanted[0].Archive}, {wanted[1].Archive} "
            + $"or what is in them: run `espalier data fetch {info.Name}`.");
    }

    private static Version[] VersionsOf(int classes) => classes switch
    {
        10 => Versions10,
        100 => Versions100,
        _ => throw new ArgumentOutOfRangeException(nameof(classes), classes, "CIFAR has 10 or 100 classes"),
    };

    private static string[] Batches(string extension) => [.. Enumerable.Range(1, 5).Select(i => $"data_batch_{i}{extension}")];
}
