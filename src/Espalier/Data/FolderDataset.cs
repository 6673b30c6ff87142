using Espalier.Imaging;

namespace Espalier.Data;

/// <summary>
/// A folder a class, pictures in it (in sub-folders too), classes and files in ordinal order of their names. Files are read
/// when they are asked for.
/// </summary>
public sealed class FolderDataset : IImageDataset
{
    private const string Expected = "it must hold a folder of images a class, or train/ and val/ with such folders";

    private readonly string[] files;
    private readonly int[] labels;
    private readonly SkippedFiles skipped;

    private FolderDataset(IReadOnlyList<string> classNames, string[] files, int[] labels, SkippedFiles skipped)
    {
        ClassNames = classNames;
        (this.files, this.labels, this.skipped) = (files, labels, skipped);
    }

    public string Name => UnopenedInfo.Name;

    public int Count => files.Length;

    public int Classes => ClassNames.Count;

    public IReadOnlyList<string> ClassNames { get; }

    internal static DatasetInfo UnopenedInfo { get; } =
        new("folder", "Your own images: a folder a class; train/ and test/ or val/ where there are both", 3, 0, 0);

    public Image ReadImage(int index) => ImageFile.Read(files[index]);

    public int Label(int index) => labels[index];

    public string? FileOf(int index) => files[index];

    /// <summary>Notes the file in <see cref="DatasetPair.Skipped"/>.</summary>
    public bool Skip(int index, EspalierException why)
    {
        if (skipped.IsStrict) return false;
        string reason = why.Message.StartsWith(files[index], StringComparison.Ordinal)
            ? why.Message[files[index].Length..].TrimStart(':', ' ') : why.Message;
        skipped.Add(files[index], reason);
        return true;
    }

    /// <summary>
    /// Opens the splits where the folder has them (<c>train</c>; <c>val</c>, <c>valid</c>, <c>validation</c>, <c>dev</c> or
    /// <c>eval</c>; <c>test</c>; in any case), else the last fifth of each class becomes the test split. With a test split a
    /// validation split is for choosing, else it is the test split; without training folder that split is empty. The
    /// info's size is the shorter side of the first picture, its channels 3 as soon as one picture has colours.
    /// </summary>
    /// <param name="strict">A picture that cannot be read is an error; else it is left out and noted.</param>
    /// <exception cref="EspalierException">No classes, a class without pictures, or test classes that training lacks.</exception>
    public static DatasetPair Open(string directory, bool strict = false)
    {
        if (!Directory.Exists(directory)) throw new EspalierException($"{directory}: no such folder; {Expected}.");
        var skipped = new SkippedFiles(strict);
        FolderSplits splits = FolderSplits.Of(directory, skipped);
        string? testFolder = splits.Test ?? splits.Validation;
        FolderDataset? training = splits.Train is null ? null : Read(splits.Train, null, skipped);
        IReadOnlyList<string>? classes = training?.ClassNames;
        FolderDataset? testing = testFolder is null ? null : Read(testFolder, classes, skipped);
        FolderDataset all = training ?? testing!;
        IImageDataset train = training ?? new FolderDataset(all.ClassNames, [], [], skipped);
        IImageDataset? test = testing, validation = splits.Test is not null && splits.Validation is not null
            ? Read(splits.Validation, all.ClassNames, skipped) : null;
        if (test is null) (train, test) = Subset.HoldOutTail(all, 0.2);
        if (test.Count == 0) throw new EspalierException($"{directory}: one image a class leaves none for testing; add images.");
        var (size, channels) = Look(all);
        return new DatasetPair(train, test, UnopenedInfo with { ImageSize = size, Channels = channels, Classes = all.Classes })
        {
            Validation = validation, Skipped = skipped,
        };
    }

    /// <summary>All pictures in a folder and its sub-folders, whatever they are called: of no classes, each labelled 0. For what needs
    /// no labels.</summary>
    /// <param name="strict">A picture that cannot be read is an error; else it is left out and noted in <paramref name="skipped"/>.
    /// </param>
    /// <exception cref="EspalierException">There is no such folder, or no picture in it.</exception>
    public static FolderDataset Unlabelled(string directory, out SkippedFiles skipped, bool strict = false)
    {
        if (!Directory.Exists(directory)) throw new EspalierException($"{directory}: no such folder of images.");
        skipped = new SkippedFiles(strict);
        string[] files = ClassFolder.Pictures(directory, skipped);
        if (files.Length == 0) throw new EspalierException($"{directory}: no images in it that are read.");
        return new FolderDataset([], files, new int[files.Length], skipped);
    }

    /// <param name="known">The training split's classes; null for that split itself, of which each must have pictures.</param>
    private static FolderDataset Read(string directory, IReadOnlyList<string>? known, SkippedFiles skipped)
    {
        string[] classes = ClassFolder.Folders(directory);
        if (classes.Length == 0) throw new EspalierException($"{directory}: no class folders; {Expected}.");
        if (known is not null && classes.Except(known).ToArray() is { Length: > 0 } unknown)
            throw new EspalierException($"{Path.Combine(directory, unknown[0])}: a class that the training folder does not have"
                + (unknown.Length == 1 ? "" : $", as {unknown.Length - 1} more") + "; rename or remove it.");
        var files = new List<string>();
        var labels = new List<int>();
        foreach (string name in classes)
        {
            string folder = Path.Combine(directory, name);
            if (!ClassFolder.HasPictures(folder) && ClassFolder.Folders(folder) is [var inner, ..])
                throw new EspalierException($"{directory}: {name} holds only folders ({inner}, ...) and no images; {Expected}."
                    + (classes.Length == 1 ? $" Is {folder} meant?" : ""));
            string[] found = ClassFolder.Pictures(folder, skipped);
            if (found.Length == 0 && known is null)
                throw new EspalierException($"{folder}: no images in it that are read; add some or remove the folder.");
            files.AddRange(found);
            labels.AddRange(Enumerable.Repeat((known ?? classes).ToList().IndexOf(name), found.Length));
        }
        return new FolderDataset(known ?? classes, [.. files], [.. labels], skipped);
    }

    private static (int Size, int Channels) Look(FolderDataset dataset)
    {
        int size = 0;
        bool color = false;
        for (int i = 0; i < dataset.Count && !color; i++)
        {
            try
            {
                if (size > 0) color = ImageFile.HasColor(dataset.files[i]);
                else
                {
                    Image first = dataset.ReadImage(i);
                    (size, color) = (Math.Min(first.Width, first.Height), first.Channels == 3);
                }
            }
            catch (EspalierException e) when (dataset.Skip(i, e))
            {
                // The next one may do.
            }
        }
        if (size == 0) throw new EspalierException($"{dataset.files[0]}: cannot be read, and so all images beside it.");
        return (size, color ? 3 : 1);
    }
}
