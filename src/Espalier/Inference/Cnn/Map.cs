namespace Espalier.Inference;

/// <summary>The maps that one layer hands to others: for each image height x width pixels of so many channels, which lie next to
/// one another. A vector is one pixel.</summary>
internal sealed class Map(int channels, int height, int width)
{
    public int Channels { get; } = channels;

    public int Height { get; } = height;

    public int Width { get; } = width;

    public int Pixels => Height * Width;

    /// <summary>The layer that computes it; null for the network's input.</summary>
    public Layer? Producer { get; set; }

    /// <summary>The layers that read it, each once for every time that it does.</summary>
    public List<Layer> Readers { get; } = [];

    /// <summary>The maps whose memory these are a part of; null where they have memory of their own.</summary>
    public Map? Home { get; set; }

    /// <summary>The first of these channels among those of <see cref="Home"/>.</summary>
    public int FirstChannel { get; set; }

    /// <summary>The maps that own the memory.</summary>
    public Map Root => Home is null ? this : Home.Root;

    /// <summary>The first of these channels among those of <see cref="Root"/>.</summary>
    public int FirstOfRoot => Home is null ? 0 : FirstChannel + Home.FirstOfRoot;

    /// <summary>Floats from one pixel to the next. Flattened maps lie in others, but their one pixel is all of those.</summary>
    public int Stride => Home is null || Home.Pixels != Pixels ? Channels : Home.Stride;

    public bool SameShape(Map other) => (Channels, Height, Width) == (other.Channels, other.Height, other.Width);
}
