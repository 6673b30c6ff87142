using Espalier.Data;
using Espalier.Imaging;

namespace Espalier.Tests.Data;

/// <summary>Pictures whose pixels tell their number; labels go round the classes.</summary>
internal sealed class FakeDataset(int count, int classes = 3, int size = 6, int channels = 1) : IImageDataset
{
    public int? Broken { get; set; }

    /// <summary>Whether what is broken may be left out.</summary>
    public bool Skips { get; set; }

    public bool Skip(int index, EspalierException why) => Skips;

    public string Name => "fake";

    public int Count => count;

    public int Classes => classes;

    public IReadOnlyList<string> ClassNames { get; } = [.. Enumerable.Range(0, classes).Select(c => $"class {c}")];

    public int Label(int index) => index % classes;

    public Image ReadImage(int index)
    {
        if (index == Broken) throw new EspalierException($"{index}.png: damaged PNG file.");
        var image = new Image(size, size, channels);
        for (int i = 0; i < image.Pixels.Length; i++) image.Pixels[i] = (byte)(index * 31 + i * 7);
        return image;
    }
}
