using Espalier.Imaging;

namespace Espalier.Data;

/// <summary>
/// A folder a class, images in it (in sub-folders too), classes and files in ordinal order of their names. Files
/// are read when they are asked for.
/// </summary>
public sealed class FolderDataset : IImageDataset
{
    private readonly string[] files;
    private readonly int[] labels;

    private FolderDataset(string name, IReadOnlyList<string> classNames, string[] files, int[] labels)
    {
        (Name, ClassNames) = (name, classNames);
        (this.files, this.labels) = (files, labels);
    }

    public string Name { get; }

    public int Count => files.Length;

    public int Classes => ClassNames.Count;

    public IReadOnlyList<string> ClassNames { get; }

    internal static DatasetInfo UnopenedInfo { get; } =
        new("folder", "Your own images: a folder a class; train/ and test/ or val/ where there are both", 3, 0, 0);

    public Image ReadImage(int index) => ImageFile.Read(files[index]);

    public int Label(int index) => labels[index];

    /// <summary>The file behind a picture.</summary>
    public string FileOf(int index) => files[index];

    /// <summary>
    /// Opens <c>train/</c> with <c>test/</c> or <c>val/</c> where the folder has them; else the last fifth of each class
    /// becomes the test split. The info's size is the shorter side of the first picture, its channels 3 as soon as one
    /// class starts with a colour picture.
    /// </summary>
    /// <exception cref="EspalierException">No classes, a class without pictures, or test classes that training lacks.</exception>
    public static DatasetPair Open(string directory)
    {
        if (!Directory.Exists(directory))
            throw new EspalierException($"{directory}: no such folder; it must hold a folder of images a class.");
        string trainFolder = Path.Combine(directory, "train");
        string? testFolder = new[] { "test", "val" }.Select(s => Path.Combine(directory, s)).FirstOrDefault(Directory.Exists);
        IImageDataset train, test;
        FolderDataset first;
        if (Directory.Exists(trainFolder) && testFolder != null)
        {
            train = first = Read(trainFolder, null);
            test = Read(testFolder, first.ClassNames);
        }
        else
        {
            first = Read(Directory.Exists(trainFolder) ? trainFolder : directory, null);
            (train, test) = Subset.HoldOutTail(first, 0.2);
            if (test.Count == 0)
                throw new EspalierException($"{directory}: one image a class leaves none for testing; add images.");
        }
        var (size, channels) = Look(first);
        return new DatasetPair(train, test, UnopenedInfo with { ImageSize = size, Channels = channels, Classes = train.Classes });
    }

    private static FolderDataset Read(string directory, IReadOnlyList<string>? known)
    {
        string[] classes = Names(Directory.GetDirectories(directory));
        if (classes.Length == 0)
            throw new EspalierException($"{directory}: no class folders; it must hold a folder of images a class.");
        known ??= classes;
        var files = new List<string>();
        var labels = new List<int>();
        foreach (string name in classes)
        {
            string folder = Path.Combine(directory, name);
            int label = known.ToList().IndexOf(name);
            if (label < 0)
                throw new EspalierException($"{folder}: a class that the training folder does not have; rename or remove it.");
            string[] found = [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
                .Where(ImageFile.HasImageExtension).Order(StringComparer.Ordinal)];
            if (found.Length == 0)
                throw new EspalierException($"{folder}: no images in it; add some or remove the folder.");
            files.AddRange(found);
            labels.AddRange(Enumerable.Repeat(label, found.Length));
        }
        return new FolderDataset("folder", known, [.. files], [.. labels]);
    }

    private static string[] Names(string[] folders) => [.. folders.Select(f => Path.GetFileName(f)!)
        .Where(n => !n.StartsWith('.')).Order(StringComparer.Ordinal)];

    private static (int Size, int Channels) Look(FolderDataset dataset)
    {
        int size = 0, channels = 1;
        for (int i = 0; i < dataset.Count; i++)
        {
            if (i > 0 && dataset.labels[i] == dataset.labels[i - 1]) continue;
            var image = dataset.ReadImage(i);
            if (i == 0) size = Math.Min(image.Width, image.Height);
            channels = Math.Max(channels, image.Channels);
        }
        return (size, channels);
    }
}
