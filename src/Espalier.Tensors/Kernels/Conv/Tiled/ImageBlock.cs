using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>How many images a thread of a <see cref="TiledConvolution"/> has as pixels at a time.</summary>
internal readonly struct ImageBlock
{
    // Pixels of both sides stay in the second-level cache; but the packed weights are read once a block, which must be worth it.
    private const int Together = 96 * 1024, FewestPixels = 256;

    /// <param name="first">Floats of an image on the side that comes first.</param>
    /// <param name="second">And on the other.</param>
    /// <param name="pixels">Output pixels of an image.</param>
    public ImageBlock(int batch, int first, int second, int pixels)
    {
        Parts = Workers.Parts(batch, 1);
        int images = (batch + Parts - 1) / Math.Max(1, Parts), few = (FewestPixels + pixels - 1) / pixels;
        Count = Math.Clamp(Math.Max(Together / (first + second), few), 1, Math.Max(1, images));
        First = (nint)Count * first;
        Floats = (nint)Count * (first + second);
    }

    /// <summary>Into how many ranges the threads cut the images.</summary>
    public int Parts { get; }

    /// <summary>Images of a block.</summary>
    public int Count { get; }

    /// <summary>Floats of a block on the side that comes first.</summary>
    public nint First { get; }

    /// <summary>Floats of a block on both sides.</summary>
    public nint Floats { get; }
}
