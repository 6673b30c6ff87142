namespace Espalier.Tensors.Kernels;

/// <summary>A convolution of codes at inference over NHWC images: codes without sign by weights of codes with sign, summed in
/// int32 and finished by <see cref="CodesEpilogue"/>. Where the kernel reads outside of the image it reads the code of 0. Native
/// memory; the owner disposes it. Running allocates nothing once warm, and several threads may use one at once.</summary>
/// <param name="zero">The code of 0 in x.</param>
internal abstract unsafe class CodesConv(int channels, int outputs, int zero, in ConvShape shape) : IDisposable
{
    /// <summary>Most products of a sum: 255 · 127 times this stays below 2^31 with room for a bias.</summary>
    public const int MostProducts = 60_000;

    public int Channels { get; } = channels;

    public int Outputs { get; } = outputs;

    public int Zero { get; } = zero;

    public ConvShape Shape { get; } = shape;

    /// <summary>Bytes that the packed weights take.</summary>
    public abstract long Bytes { get; }

    /// <summary>Packs a convolution's weights for the best kernel that there is.</summary>
    /// <param name="weight">OIHW: [outputs, channels / groups, kernel height, kernel width].</param>
    /// <param name="bias">[outputs], in the scale of the sums.</param>
    /// <param name="direct">The tile that reads pixels where they lie; null for rows that are gathered for <paramref
    /// name="tile"/>.</param>
    public static CodesConv Create(int channels, int outputs, int groups, sbyte* weight, int* bias, int zero, in ConvShape shape,
        ConvTile? direct, DotTile tile)
    {
        if (groups == channels && outputs == channels && groups > 1) return new CodesDepthwise(channels, weight, bias, zero,
            shape);
        int each = channels / groups;
        return direct is not null && (groups == 1 || each % Int8Rows.GroupSize == 0)
            ? new CodesDirectConv(channels, outputs, groups, weight, bias, zero, shape, direct)
            : new CodesGatherConv(channels, outputs, groups, weight, bias, zero, shape, tile);
    }

    /// <summary>The same with the kernels of this processor.</summary>
    public static CodesConv Create(int channels, int outputs, int groups, sbyte* weight, int* bias, int zero,
        in ConvShape shape) =>
        Create(channels, outputs, groups, weight, bias, zero, shape, ConvTile.Codes,
            DotKernels.Int8.Tile ?? new Int8TilePortable());

    /// <summary>Runs, split over the workers.</summary>
    /// <param name="x">[images, height, width] pixels of codes, <paramref name="ldx"/> apart, a multiple of 4; up to 16 bytes
    /// behind the last are read.</param>
    public abstract void Run(int images, int height, int width, byte* x, int ldx, in CodesEpilogue epilogue);

    public abstract void Dispose();

    /// <summary>What a sum begins with: the bias, less what the zero point adds to every product.</summary>
    protected static int Start(sbyte* row, int length, int bias, int zero)
    {
        int sum = 0;
        for (int i = 0; i < length; i++) sum += row[i];
        return bias - (zero * sum);
    }
}
