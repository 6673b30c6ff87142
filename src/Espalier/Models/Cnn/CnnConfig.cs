namespace Espalier.Models;

/// <summary>The shape of a convolutional network, enough to build it.</summary>
/// <param name="Network">Its name, see <see cref="CnnPresets.Names"/>.</param>
public sealed record CnnConfig(string Network)
{
    private const int MostClasses = 1 << 20, LargestImage = 1 << 11, MostChannels = 1 << 10, MostImageValues = 1 << 28;

    public int NumClasses { get; init; } = 1000;

    /// <summary>Of the images: 3 for colour, 1 for grey.</summary>
    public int Channels { get; init; } = 3;

    /// <summary>Height and width of the images in pixels.</summary>
    public int ImageSize { get; init; } = 224;

    /// <summary>What the published network's channel counts are multiplied with, in (0, 4].</summary>
    public double Width { get; init; } = 1;

    /// <summary>
    /// Residual blocks that are gone, such as "layer1.1"; null for none. See <see cref="Cnn.RemoveBlocks"/>.
    /// </summary>
    public string[]? Removed { get; init; }

    /// <summary>A published channel count at this width: rounded, at least 1.</summary>
    public int Scaled(int channels) => Math.Max(1, (int)Math.Round(channels * Width));

    /// <summary>Throws where a number is out of its range.</summary>
    /// <param name="source">The file or option, for the message.</param>
    /// <exception cref="EspalierException">One line that names the number.</exception>
    public CnnConfig Checked(string source)
    {
        CnnPresets.RequireKnown(Network, source);
        Require(NumClasses is >= 1 and <= MostClasses, $"numClasses is {NumClasses}; it is 1 to {MostClasses}");
        Require(Channels is >= 1 and <= MostChannels, $"channels is {Channels}; it is 1 to {MostChannels}");
        Require(ImageSize is >= 8 and <= LargestImage, $"imageSize is {ImageSize}; it is 8 to {LargestImage}");
        Require((long)Channels * ImageSize * ImageSize <= MostImageValues, $"an image of {Channels} x {ImageSize} x {ImageSize} "
            + $"has more than {MostImageValues} values");
        Require(Width is > 0 and <= 4, $"width is {Width}; it is above 0 and at most 4");
        return this;

        void Require(bool condition, string message)
        {
            if (!condition) throw new EspalierException($"{source}: {message}");
        }
    }
}
