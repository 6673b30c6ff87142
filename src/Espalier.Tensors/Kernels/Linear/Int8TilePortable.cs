namespace Espalier.Tensors.Kernels;

/// <summary>What every int8 kernel computes, in plain words: for processors without one.</summary>
internal sealed unsafe class Int8TilePortable(int maxRows = 5, int columns = 16)
    : DotTile("portable int8", maxRows, columns)
{
    public override int Height(int rows) => Math.Min(rows, MaxRows);

    public override void Run(int height, nint groups, byte* a, byte* b, void* start, void* sums)
    {
        for (int row = 0; row < height; row++)
        {
            for (int column = 0; column < Columns; column++)
            {
                int sum = ((int*)start)[column];
                for (nint group = 0; group < groups; group++)
                {
                    byte* x = a + (((group * height) + row) * Int8Rows.GroupSize);
                    sbyte* w = (sbyte*)b + (((group * Columns) + column) * Int8Rows.GroupSize);
                    sum += (x[0] * w[0]) + (x[1] * w[1]) + (x[2] * w[2]) + (x[3] * w[3]);
                }

                ((int*)sums)[(row * Columns) + column] = sum;
            }
        }
    }
}
