using Espalier.Imaging;

namespace Espalier.Data;

/// <summary>Labelled pictures by number. All members may be called from several threads at once.</summary>
public interface IImageDataset
{
    string Name { get; }

    /// <summary>Pictures 0 .. Count - 1.</summary>
    int Count { get; }

    /// <summary>Labels are 0 .. Classes - 1.</summary>
    int Classes { get; }

    /// <summary>One name a class.</summary>
    IReadOnlyList<string> ClassNames { get; }

    /// <summary>Picture <paramref name="index"/>, the caller's own copy.</summary>
    /// <exception cref="EspalierException">A file behind it cannot be read; the message names the file.</exception>
    Image ReadImage(int index);

    int Label(int index);

    /// <summary>The file that a picture is in by itself; null where many are in one file.</summary>
    string? FileOf(int index) => null;

    /// <summary>
    /// Asks whether a picture that cannot be read may be left out, which the data set then remembers. False where that is
    /// an error, as it is for data sets that are one file.
    /// </summary>
    /// <exception cref="EspalierException">It is an error.</exception>
    bool Skip(int index, EspalierException why) => false;
}

/// <summary>What is known of a data set before it is opened.</summary>
/// <param name="Channels">1 grey, 3 RGB.</param>
/// <param name="ImageSize">Side of the square pictures in pixels; 0 for a folder that is not open yet.</param>
/// <param name="Classes">0 for a folder that is not open yet.</param>
public sealed record DatasetInfo(string Name, string Description, int Channels, int ImageSize, int Classes);

/// <summary>The splits of a data set.</summary>
public sealed record DatasetPair(IImageDataset Train, IImageDataset Test, DatasetInfo Info)
{
    /// <summary>Pictures to choose the best checkpoint by; null where the data set has none beside the test split.</summary>
    public IImageDataset? Validation { get; init; }

    /// <summary>Files that turned out to be of no use, up to now.</summary>
    public SkippedFiles Skipped { get; init; } = new();

    /// <summary>All splits with the labels of a model that knows classes by name, see <see cref="ClassMatch"/>.</summary>
    /// <exception cref="EspalierException">Some classes are the model's and some are not.</exception>
    public DatasetPair For(IReadOnlyList<string>? classes, string model) => this with
    {
        Train = ClassMatch.Of(Train, classes, model).Data,
        Test = ClassMatch.Of(Test, classes, model).Data,
        Validation = Validation is null ? null : ClassMatch.Of(Validation, classes, model).Data,
    };
}
