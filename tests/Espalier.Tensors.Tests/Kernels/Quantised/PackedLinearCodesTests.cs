using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Quantised;

/// <summary>Linear layers of codes with known scales against plain loops.</summary>
public unsafe class PackedLinearCodesTests
{
    [Theory]
    [InlineData(1, 16, 16, 128)]
    [InlineData(7, 33, 19, 0)]
    [InlineData(25, 64, 100, 77)]
    [InlineData(40, 30, 257, 255)]
    public void RowsAreRoundedByOneScale(int rows, int outputs, int inputs, int zero)
    {
        var rng = new Rng(3, (ulong)inputs);
        float[] x = [.. Enumerable.Range(0, rows * inputs).Select(_ => 3 * rng.NextNormal())];
        (x[0], x[^1]) = (1e30f, -1e30f);
        sbyte[] weights = [.. Enumerable.Range(0, outputs * inputs).Select(_ => (sbyte)((int)(rng.NextULong() % 255) - 127))];
        float[] scales = [.. Enumerable.Range(0, outputs).Select(_ => rng.NextFloat(0.01f, 0.02f))], bias =
            [.. scales.Select(s => 10 * s)];
        var step = new CodeStep(0.04f, zero, 0, 255);
        DotTile?[] tiles =
        [
            new Int8TilePortable(), Int8TileAvx2.IsSupported ? new Int8TileAvx2() : null, Int8TileAvxVnni.IsSupported
                ? new Int8TileAvxVnni() : null,
            DotKernels.Int8.Tile,
        ];
        foreach (DotTile tile in tiles.OfType<DotTile>())
        {
            var y = new float[rows * outputs];
            fixed (float* px = x, py = y, ps = scales, pb = bias)
            fixed (sbyte* pw = weights)
            {
                using var linear = new PackedLinearCodes(outputs, inputs, pw, ps, step, tile);
                linear.Run(rows, px, inputs, py, outputs, new Epilogue { Bias = pb });
            }
            for (int r = 0; r < rows; r++)
                for (int o = 0; o < outputs; o++)
                {
                    long sum = 0;
                    for (int k = 0; k < inputs; k++)
                        sum += (long)MathF.Round(Math.Clamp(x[r * inputs + k] * step.Inverse, step.Least,
                            step.Most)) * weights[o * inputs + k];
                    float expected = sum * scales[o] * step.Scale + bias[o];
                    Assert.Equal(expected, y[r * outputs + o], 1e-5f * Math.Max(1, MathF.Abs(expected)));
                }
        }
    }
}
