namespace Espalier.Tensors.Kernels;

/// <summary>A convolution at inference over NHWC images, its weights packed once for the kernel that reads them. Pixels may lie
/// further apart than they are long, so that a convolution can write its channels into a concatenation. Native memory; the
/// owner disposes it. Running allocates nothing once warm, and several threads may use one at once.</summary>
internal abstract unsafe class PackedConv(int channels, int outputs, in ConvShape shape) : IDisposable
{
    /// <summary>Channels of x.</summary>
    public int Channels { get; } = channels;

    /// <summary>Channels of y.</summary>
    public int Outputs { get; } = outputs;

    public ConvShape Shape { get; } = shape;

    /// <summary>Bytes that the packed weights take.</summary>
    public abstract long Bytes { get; }

    /// <summary>Packs a convolution's weights.</summary>
    /// <param name="weight">OIHW: [outputs, channels / groups, kernel height, kernel width].</param>
    /// <param name="bias">[outputs], or null.</param>
    public static PackedConv Create(
        int channels, int outputs, int groups, float* weight, float* bias, in ConvShape shape, TileSet? tiles = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(groups, 1);
        if (channels % groups != 0 || outputs % groups != 0)
        {
            throw new ArgumentException($"convolution: {channels} channels to {outputs} in {groups} groups");
        }

        if (groups == channels && outputs == channels && groups > 1) return new DepthwiseConv(channels, weight, bias, shape);
        if ((tiles ?? KernelInfo.Tiles) != TileSet.Avx512 || ConvTile.Instance is not { } tile)
            return new GatherConv(channels, outputs, groups, weight, bias, shape, tiles ?? KernelInfo.Tiles);
        var direct = new DirectConv(channels, outputs, groups, weight, bias, shape, tile);
        return WinogradConv.Suits(shape, groups) ? new WinogradConv(direct) : direct;
    }

    /// <summary>y = the convolution of x with its epilogue, split over the workers.</summary>
    /// <param name="x">[images, height, width] pixels of <see cref="Channels"/> floats, <paramref name="ldx"/> apart.</param>
    /// <param name="y">Pixels of <see cref="Outputs"/> floats, <paramref name="ldy"/> apart; must not overlap x.</param>
    public abstract void Run(
        int images, int height, int width, float* x, int ldx, float* y, int ldy, in ConvEpilogue epilogue);

    public abstract void Dispose();
}
