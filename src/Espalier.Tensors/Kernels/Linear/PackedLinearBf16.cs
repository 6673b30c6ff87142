namespace Espalier.Tensors.Kernels;

/// <summary>A <see cref="PackedLinear"/> whose products are of bfloat16 numbers, summed in float32: weights and rows rounded to
/// nearest (<see cref="Bf16Rows"/>). y = epilogue(sum).</summary>
internal sealed unsafe class PackedLinearBf16 : GroupedLinear
{
    public PackedLinearBf16(int outputs, int inputs, float* weights, DotTile tile)
        : base(outputs, inputs, tile, Bf16Rows.GroupSize)
    {
        nint step = tile.Columns * Bf16Rows.GroupSize;
        for (int output = 0; output < outputs; output++)
        {
            float* row = weights + ((nint)output * inputs);
            ushort* column = (ushort*)Panel(output / tile.Columns) + (output % tile.Columns * Bf16Rows.GroupSize);
            for (int k = 0; k < inputs; k++)
            {
                column[(k / Bf16Rows.GroupSize * step) + (k % Bf16Rows.GroupSize)] = Bf16Rows.Round(row[k]);
            }
        }
    }

    protected override void PackRows(float* x, int ldx, int lines, int height, byte* panel, float* scales) =>
        Bf16Rows.Pack(x, ldx, lines, height, Inputs, panel);

    protected override void Finish(in TileFinish finish, void* sums, float* scales, int lines, float* columnScales) =>
        finish.FromFloats((float*)sums, lines);
}
