namespace Espalier.Data;

/// <summary>
/// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 28 x 28 grey pictures of clothes in 10 classes, 60,000 for training and
/// 10,000 for testing, as four IDX files. A balanced sample of 2,000 and 1,000 is inside the assembly.
/// </summary>
public static class FashionMnist
{
    /// <summary>Where Debian's package dataset-fashion-mnist puts the files.</summary>
    public const string DebianDirectory = "/usr/share/datasets/fashion-mnist";

    private const string Resources = "Espalier.Data.Sample.";

    public static IReadOnlyList<string> ClassNames { get; } =
        ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

    internal static DatasetInfo Info { get; } =
        new("fashion-mnist", "Fashion-MNIST: 28 x 28 grey, 10 classes, 60,000 + 10,000", 1, 28, 10);

    internal static DatasetInfo SampleInfo { get; } =
        new("fashion-mnist-sample", "Embedded sample of Fashion-MNIST: 2,000 + 1,000", 1, 28, 10);

    /// <summary>True where the folder has all four files, plain or gzip.</summary>
    public static bool IsPresent(string directory) =>
        new[] { "train", "t10k" }.All(split => Find(directory, Images(split)) != null && Find(directory, Labels(split)) != null);

    /// <exception cref="EspalierException">A file is missing or damaged.</exception>
    public static DatasetPair Open(string directory) => new(OpenSplit(directory, "train"), OpenSplit(directory, "t10k"), Info);

    /// <summary>The first 200 training and 100 test pictures of each class, in the full set's order.</summary>
    public static DatasetPair OpenSample() => new(OpenSampleSplit("train"), OpenSampleSplit("t10k"), SampleInfo);

    private static MemoryDataset OpenSplit(string directory, string split)
    {
        string images = Find(directory, Images(split)) ?? throw Missing(directory, Images(split));
        string labels = Find(directory, Labels(split)) ?? throw Missing(directory, Labels(split));
        return Join("fashion-mnist", images, Idx.Read(images, 3), Idx.Read(labels, 1));
    }

    private static MemoryDataset OpenSampleSplit(string split) => Join("fashion-mnist-sample", "the embedded sample",
        ReadResource(Images(split) + ".gz", 3), ReadResource(Labels(split) + ".gz", 1));

    private static MemoryDataset Join(string name, string imageFile, IdxArray images, IdxArray labels)
    {
        if (images.Shape[1] != 28 || images.Shape[2] != 28)
            throw new EspalierException($"{imageFile}: images of {images.Shape[2]} x {images.Shape[1]}, not of 28 x 28.");
        if (images.Shape[0] != labels.Shape[0])
            throw new EspalierException(
                $"{imageFile}: {images.Shape[0]} images but {labels.Shape[0]} labels; the files do not belong together.");
        return new MemoryDataset(name, ClassNames, 28, 28, 1, images.Data, labels.Data);
    }

    private static IdxArray ReadResource(string file, int dimensions)
    {
        using var stream = typeof(FashionMnist).Assembly.GetManifestResourceStream(Resources + file)
            ?? throw new InvalidOperationException($"the resource {file} is not in the assembly");
        return Idx.Read(stream, stream.Length, file, dimensions);
    }

    private static string Images(string split) => split + "-images-idx3-ubyte";

    private static string Labels(string split) => split + "-labels-idx1-ubyte";

    private static string? Find(string directory, string file)
    {
        string plain = Path.Combine(directory, file), zipped = plain + ".gz";
        return File.Exists(plain) ? plain : File.Exists(zipped) ? zipped : null;
    }

    private static EspalierException Missing(string directory, string file) =>
        new($"{directory}: no {file}[.gz]; the folder must hold train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            + "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each plain or .gz: run `espalier data fetch fashion-mnist` "
            + "or install Debian's dataset-fashion-mnist.");
}
