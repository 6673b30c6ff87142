namespace Espalier.Tensors.Kernels;

/// <summary>
/// Which rows and columns an attention call works on. Images are packed one after another: image b owns rows
/// offsets[b] .. offsets[b + 1] - 1 of every matrix, head n its columns n * d .. (n + 1) * d - 1.
/// </summary>
internal readonly unsafe struct AttentionHeads
{
    /// <summary>[images + 1], rising.</summary>
    public readonly int* Offsets;

    public readonly int Images;

    /// <summary>Heads in each image.</summary>
    public readonly int Count;

    /// <summary>Columns of a head: d.</summary>
    public readonly int Width;

    /// <summary>What q·k is multiplied by before the softmax: 1/sqrt(d) of the unpruned head.</summary>
    public readonly float Scale;

    public AttentionHeads(int* offsets, int images, int count, int width, float scale)
    {
        Offsets = offsets;
        Images = images;
        Count = count;
        Width = width;
        Scale = scale;
    }

    /// <summary>Pairs of image and head: the units of work.</summary>
    public int Pairs => Images * Count;

    /// <summary>Rows of all images.</summary>
    public int Rows => Offsets[Images] - Offsets[0];

    /// <summary>The fewest pairs worth a thread: about 2 million multiply-adds, some 20 microseconds.</summary>
    public int Grain
    {
        get
        {
            double tokens = Math.Max(1.0, (double)Rows / Math.Max(1, Images));
            return (int)Math.Clamp(2e6 / (2.0 * tokens * tokens * Width), 1.0, 1 << 20);
        }
    }
}
