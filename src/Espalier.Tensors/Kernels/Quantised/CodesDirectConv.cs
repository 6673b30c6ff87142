namespace Espalier.Tensors.Kernels;

/// <summary>A <see cref="CodesConv"/> by the tiles of the direct convolution (<see cref="ConvTile.Codes"/>): pixels are read
/// where they lie, four channels in the place of a float.</summary>
internal sealed unsafe class CodesDirectConv : CodesConv
{
    private const int Four = Int8Rows.GroupSize;

    private readonly DirectConv conv;
    private readonly float padding;

    public CodesDirectConv(int channels, int outputs, int groups, sbyte* weight, int* bias, int zero, in ConvShape shape,
        ConvTile tile)
        : base(channels, outputs, zero, shape)
    {
        int each = channels / groups, fours = (each + Four - 1) / Four, taps = shape.Taps;
        using var packed = new NativeFloats((nint)outputs * fours * taps);
        using var start = new NativeFloats(outputs);
        for (int o = 0; o < outputs; o++)
        {
            sbyte* row = weight + ((nint)o * each * taps), to = (sbyte*)(packed.Data + ((nint)o * fours * taps));
            for (int c = 0; c < each; c++)
                for (int t = 0; t < taps; t++) to[((((c / Four) * taps) + t) * Four) + (c % Four)] = row[(c * taps) + t];
            ((int*)start.Data)[o] = Start(row, each * taps, bias[o], zero);
        }

        conv = new DirectConv(fours * groups, outputs, groups, packed.Data, start.Data, shape, tile);
        padding = BitConverter.Int32BitsToSingle(zero * 0x01010101);
    }

    public override long Bytes => conv.Bytes;

    public override void Run(int images, int height, int width, byte* x, int ldx, in CodesEpilogue epilogue) =>
        conv.RunCodes(images, height, width, (float*)x, ldx / Four, padding, epilogue);

    public override void Dispose() => conv.Dispose();
}
