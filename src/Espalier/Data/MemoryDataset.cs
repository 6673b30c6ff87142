using Espalier.Imaging;

namespace Espalier.Data;

/// <summary>Equal-sized pictures held in memory, 8 bits a sample.</summary>
public sealed class MemoryDataset : IImageDataset
{
    private readonly byte[] pixels, labels;
    private readonly int width, height, channels;
    private readonly bool planar;

    /// <summary>Checks that pictures and labels belong together.</summary>
    /// <param name="pixels">[N, H, W, C], or [N, C, H, W] where <paramref name="planar"/>; kept, not copied.</param>
    /// <param name="labels">[N], each below the number of class names; kept, not copied.</param>
    /// <exception cref="EspalierException">Lengths that do not match, or a label out of range.</exception>
    public MemoryDataset(string name, IReadOnlyList<string> classNames, int width, int height, int channels, byte[] pixels,
        byte[] labels, bool planar = false)
    {
        int size = Image.Size(width, height, channels);
        if (pixels.Length != (long)size * labels.Length)
            throw new EspalierException(
                $"{name}: {pixels.Length / size} images but {labels.Length} labels; the files do not belong together.");
        for (int i = 0; i < labels.Length; i++)
            if (labels[i] >= classNames.Count)
                throw new EspalierException(
                    $"{name}: label {labels[i]} of image {i} is not below {classNames.Count}; the file is damaged.");
        Name = name;
        ClassNames = classNames;
        this.pixels = pixels;
        this.labels = labels;
        this.planar = planar;
        (this.width, this.height, this.channels) = (width, height, channels);
    }

    public string Name { get; }

    public int Count => labels.Length;

    public int Classes => ClassNames.Count;

    public IReadOnlyList<string> ClassNames { get; }

    public int Label(int index) => labels[index];

    public Image ReadImage(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Count);
        int area = width * height, size = area * channels;
        var from = pixels.AsSpan(index * size, size);
        byte[] copy = new byte[size];
        if (!planar) from.CopyTo(copy);
        else
            for (int c = 0; c < channels; c++)
                for (int i = 0; i < area; i++) copy[i * channels + c] = from[c * area + i];
        return new Image(width, height, channels, copy);
    }
}
