namespace Espalier.Tensors.Kernels;

/// <summary>What every bf16 kernel computes, up to the rounding of its sums. For tests.</summary>
internal sealed unsafe class Bf16TileReference() : DotTile("reference bf16", 5, 16)
{
    public override int Height(int rows) => Math.Min(rows, MaxRows);

    public override void Run(int height, nint groups, byte* a, byte* b, void* start, void* sums)
    {
        for (int row = 0; row < height; row++)
        {
            for (int column = 0; column < Columns; column++)
            {
                float sum = ((float*)start)[column];
                for (nint group = 0; group < groups; group++)
                {
                    ushort* x = (ushort*)a + (((group * height) + row) * Bf16Rows.GroupSize);
                    ushort* w = (ushort*)b + (((group * Columns) + column) * Bf16Rows.GroupSize);
                    sum += (Value(x[0]) * Value(w[0])) + (Value(x[1]) * Value(w[1]));
                }

                ((float*)sums)[(row * Columns) + column] = sum;
            }
        }
    }

    private static float Value(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);
}
