namespace Espalier.Tensors.Kernels;

/// <summary>A <see cref="PackedLinear"/> of codes whose scales are known: rows of floats are rounded to codes of one scale and
/// zero point as they are packed, the weights are codes of a scale an output. y = epilogue(sum · scales).</summary>
internal sealed unsafe class PackedLinearCodes : GroupedLinear
{
    private readonly CodeStep step;

    /// <param name="weights">[outputs, inputs].</param>
    /// <param name="scales">[outputs].</param>
    /// <param name="step">Of the rows; all codes from 0 to 255.</param>
    public PackedLinearCodes(int outputs, int inputs, sbyte* weights, float* scales, in CodeStep step, DotTile tile)
        : base(outputs, inputs, tile, Int8Rows.GroupSize)
    {
        this.step = step;
        new ReadOnlySpan<float>(scales, outputs).CopyTo(new Span<float>(ColumnScales, outputs));
        for (int o = 0; o < outputs; o++) Start[o] = -step.Zero * PackColumn(o, weights + ((nint)o * inputs));
    }

    protected override void PackRows(float* x, int ldx, int lines, int height, byte* panel, float* scales)
    {
        Int8Rows.Pack(x, ldx, lines, height, Inputs, panel, step);
        new Span<float>(scales, lines).Fill(step.Scale);
    }

    protected override void Finish(in TileFinish finish, void* sums, float* scales, int lines, float* columnScales) =>
        finish.FromInts((int*)sums, lines, scales, columnScales);
}
