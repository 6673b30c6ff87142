using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Linear;

public sealed unsafe class Bf16RowsTests
{
    [Theory]
    [InlineData(0x3F800000u, 0x3F80)]
    [InlineData(0x3F808000u, 0x3F80)]
    [InlineData(0x3F808001u, 0x3F81)]
    [InlineData(0x3F818000u, 0x3F82)]
    [InlineData(0xBF818000u, 0xBF82)]
    [InlineData(0x80000000u, 0x8000)]
    [InlineData(0x7F7FFFFFu, 0x7F80)]
    [InlineData(0x7F800000u, 0x7F80)]
    [InlineData(0xFF800000u, 0xFF80)]
    [InlineData(0x7FC00000u, 0x7FC0)]
    [InlineData(0x7F800001u, 0x7FC0)]
    [InlineData(0xFFFFFFFFu, 0xFFFF)]
    public void RoundsToNearestEven(uint bits, int expected)
    {
        Assert.Equal(expected, Bf16Rows.Round(BitConverter.UInt32BitsToSingle(bits)));
        float[] x = new float[16];
        x[5] = BitConverter.UInt32BitsToSingle(bits);
        Assert.Equal(expected, Pack(x, 1, 1, 16)[5]);
    }

    [Fact]
    public void PanelsHoldTheRoundedRows()
    {
        var random = new Random(2);
        foreach (int count in new[] { 1, 2, 7, 16, 17, 31, 32, 65, 197 })
        {
            foreach ((int lines, int height) in new[] { (1, 1), (2, 2), (3, 5), (4, 4), (7, 7), (11, 12), (12, 12) })
            {
                float[] x = [.. Enumerable.Range(0, lines * count).Select(_ => random.NextSingle() - 0.5f)];
                ushort[] panel = Pack(x, lines, height, count);
                for (int k = 0; k < (count + 15) / 16 * 16; k++)
                {
                    for (int i = 0; i < height; i++)
                    {
                        int expected = k < count ? Bf16Rows.Round(x[(Math.Min(i, lines - 1) * count) + k]) : 0;
                        Assert.Equal(expected, panel[(((k / 2 * height) + i) * 2) + (k % 2)]);
                    }
                }
            }
        }
    }

    private static ushort[] Pack(float[] x, int lines, int height, int count)
    {
        const int Spill = 6, Behind = 8;
        int length = height * ((count + 15) / 16 * 16);
        ushort[] panel = new ushort[length + Spill + Behind];
        panel.AsSpan(length + Spill).Fill(0x5555);
        fixed (float* source = x)
        fixed (ushort* target = panel)
        {
            Bf16Rows.Pack(source, count, lines, height, count, (byte*)target);
        }

        Assert.All(panel.AsSpan(length + Spill).ToArray(), value => Assert.Equal(0x5555, value));
        return panel;
    }
}
