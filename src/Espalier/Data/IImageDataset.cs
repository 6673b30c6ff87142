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
}

/// <summary>What is known of a data set before it is opened.</summary>
/// <param name="Channels">1 grey, 3 RGB.</param>
/// <param name="ImageSize">Side of the square pictures in pixels; 0 for a folder that is not open yet.</param>
/// <param name="Classes">0 for a folder that is not open yet.</param>
public sealed record DatasetInfo(string Name, string Description, int Channels, int ImageSize, int Classes);

/// <summary>The two splits of a data set.</summary>
public sealed record DatasetPair(IImageDataset Train, IImageDataset Test, DatasetInfo Info);
