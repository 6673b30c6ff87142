using Espalier.Data;
using Espalier.Imaging;

namespace Espalier.Reproduce;

/// <summary>A data set whose pictures are moved by some pixels; what comes in at the edge is black, as Fashion-MNIST's ground is.</summary>
/// <param name="right">Negative to the left.</param>
/// <param name="down">Negative up.</param>
internal sealed class ShiftedImages(IImageDataset source, int right, int down) : IImageDataset
{
    public string Name => source.Name;

    public int Count => source.Count;

    public int Classes => source.Classes;

    public IReadOnlyList<string> ClassNames => source.ClassNames;

    public int Label(int index) => source.Label(index);

    public Image ReadImage(int index)
    {
        Image image = source.ReadImage(index), moved = new(image.Width, image.Height, image.Channels);
        int row = image.Width * image.Channels, kept = Math.Max(0, image.Width - Math.Abs(right)) * image.Channels;
        if (kept == 0) return moved;
        for (int y = Math.Max(0, down); y < Math.Min(image.Height, image.Height + down); y++)
            image.Pixels.AsSpan((y - down) * row + Math.Max(0, -right) * image.Channels, kept)
                .CopyTo(moved.Pixels.AsSpan(y * row + Math.Max(0, right) * image.Channels));
        return moved;
    }
}
