namespace Espalier.Tensors.Kernels;

/// <summary>A <see cref="PackedLinear"/> whose products are of 8-bit integers: weights with a scale an output
/// (<see cref="Int8Weights"/>), rows with a scale a row (<see cref="Int8Rows"/>), their sums exact in 32 bits. y = epilogue(sum *
/// row scale * output scale). A row or an output that holds NaN or an infinity comes out as NaN from end to end.</summary>
internal sealed unsafe class PackedLinearInt8 : GroupedLinear
{
    /// <summary>Most inputs: 127 * 127 times this stays below 2^31.</summary>
    public const int MaxInputs = 133_000;

    /// <param name="tile">The kernel; all of them give the same sums.</param>
    /// <exception cref="EspalierException">More than <see cref="MaxInputs"/> inputs.</exception>
    public PackedLinearInt8(int outputs, int inputs, float* weights, DotTile tile)
        : base(outputs, inputs, tile, Int8Rows.GroupSize)
    {
        if (inputs > MaxInputs)
        {
            throw new EspalierException($"a layer of {inputs} inputs is too wide for int8 sums of 32 bits: use fp32");
        }

        (sbyte[] values, float[] scales) = Int8Weights.Quantise(outputs, inputs, weights);
        new ReadOnlySpan<float>(scales).CopyTo(new Span<float>(ColumnScales, outputs));
        fixed (sbyte* rows = values)
        {
            // The rows that come in are stored with 128 added, so as to have no sign; this takes it out again.
            for (int o = 0; o < outputs; o++) Start[o] = -Int8Rows.Shift * PackColumn(o, rows + ((nint)o * inputs));
        }
    }

    protected override void PackRows(float* x, int ldx, int lines, int height, byte* panel, float* scales) =>
        Int8Rows.Pack(x, ldx, lines, height, Inputs, panel, scales);

    protected override void Finish(in TileFinish finish, void* sums, float* scales, int lines, float* columnScales) =>
        finish.FromInts((int*)sums, lines, scales, columnScales);
}
