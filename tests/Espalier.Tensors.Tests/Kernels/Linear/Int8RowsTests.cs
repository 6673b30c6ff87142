using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Linear;

public sealed unsafe class Int8RowsTests
{
    private static readonly int[] Sizes = [1, 3, 4, 7, 15, 16, 17, 63, 64, 65, 80, 197];

    [Fact]
    public void EveryValueComesBackToHalfAStep()
    {
        foreach (int count in Sizes)
        {
            foreach (int lines in new[] { 1, 2, 3, 4, 5, 7, 11, 12 })
            {
                float[] x = Random(lines * count);
                (byte[] panel, float[] scales) = Pack(x, lines, lines, count);
                for (int i = 0; i < lines; i++)
                {
                    Assert.Equal(x.AsSpan(i * count, count).ToArray().Max(Math.Abs) / 127f, scales[i]);
                    for (int k = 0; k < count; k++)
                    {
                        double step = scales[i], back = (At(panel, lines, i, k) - Int8Rows.Shift) * step;
                        Assert.True(Math.Abs(back - x[(i * count) + k]) <= step * 0.50001, $"{lines}x{count}: {i}, {k}");
                    }
                }
            }
        }
    }

    [Fact]
    public void WhatIsPaddedIsZeroAndRepeatsTheLastRow()
    {
        const int Lines = 3, Height = 6, Count = 17;
        (byte[] panel, _) = Pack(Random(Lines * Count), Lines, Height, Count);
        for (int k = 0; k < 32; k++)
        {
            for (int i = 0; i < Height; i++)
            {
                byte q = At(panel, Height, i, k);
                Assert.Equal(k >= Count ? Int8Rows.Shift : At(panel, Height, Math.Min(i, Lines - 1), k), q);
            }
        }
    }

    [Fact]
    public void NothingBehindTwelveBytesIsTouched()
    {
        for (int height = 1; height <= 12; height++)
        {
            byte[] memory = new byte[(height * 32) + 64];
            Array.Fill(memory, (byte)0x55);
            float[] x = Random(height * 32), scales = new float[height];
            fixed (float* source = x, scale = scales)
            fixed (byte* panel = memory)
            {
                Int8Rows.Pack(source, 32, height, height, 32, panel, scale);
            }

            Assert.All(memory.AsSpan((height * 32) + 12).ToArray(), value => Assert.Equal(0x55, value));
        }
    }

    [Theory]
    [InlineData(0f, 0)]
    [InlineData(1e-45f, 0)]
    [InlineData(1e-38f, 0)]
    [InlineData(1e-29f, 127)]
    [InlineData(3.4028235e38f, 127)]
    public void ExtremeRowsKeepAFiniteScale(float largest, int expected)
    {
        float[] x = new float[20];
        x[7] = -largest;
        (byte[] panel, float[] scales) = Pack(x, 1, 1, 20);
        Assert.True(float.IsNormal(scales[0]) && scales[0] > 0);
        Assert.Equal(-expected, At(panel, 1, 0, 7) - Int8Rows.Shift);
        Assert.Equal(0, At(panel, 1, 0, 6) - Int8Rows.Shift);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void ARowThatIsNotFiniteHasNoScale(float value)
    {
        foreach (int count in Sizes)
        {
            for (int place = 0; place < count; place++)
            {
                float[] x = Random(2 * count);
                x[place] = value;
                (_, float[] scales) = Pack(x, 2, 2, count);
                Assert.True(float.IsNaN(scales[0]), $"{place} of {count}");
                Assert.True(float.IsNormal(scales[1]));
            }
        }
    }

    [Fact]
    public void TiesGoToTheEven()
    {
        float[] x = [127f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f];
        (byte[] panel, float[] scales) = Pack(x, 1, 1, x.Length);
        Assert.Equal(1f, scales[0]);
        int[] q = [.. Enumerable.Range(0, x.Length).Select(k => At(panel, 1, 0, k) - Int8Rows.Shift)];
        Assert.Equal([127, 0, 2, 2, 0, -2, -2, 126], q);
    }

    [Fact]
    public void WeightsFollowTheSameRule()
    {
        const int Outputs = 9, Inputs = 37;
        float[] weights = Random(Outputs * Inputs);
        weights[(4 * Inputs) + 3] = float.NaN;
        weights[(5 * Inputs) + 3] = float.NegativeInfinity;
        Array.Clear(weights, 6 * Inputs, Inputs);
        (byte[] panel, float[] expected) = Pack(weights, Outputs, Outputs, Inputs);
        fixed (float* w = weights)
        {
            (sbyte[] values, float[] scales) = Int8Weights.Quantise(Outputs, Inputs, w);
            Assert.Equal(expected, scales);
            Assert.True(float.IsNaN(scales[4]) && float.IsNaN(scales[5]));
            for (int i = 0; i < Outputs; i++)
            {
                for (int k = 0; k < Inputs; k++)
                {
                    int wanted = i is 4 or 5 ? 0 : At(panel, Outputs, i, k) - Int8Rows.Shift;
                    Assert.Equal(wanted, values[(i * Inputs) + k]);
                }
            }
        }
    }

    private static byte At(byte[] panel, int height, int row, int k) => panel[(((k / 4 * height) + row) * 4) + (k % 4)];

    private static (byte[] Panel, float[] Scales) Pack(float[] x, int lines, int height, int count)
    {
        byte[] panel = new byte[(height * (count + 16)) + 16];
        float[] scales = new float[lines];
        fixed (float* source = x, scale = scales)
        fixed (byte* target = panel)
        {
            Int8Rows.Pack(source, count, lines, height, count, target, scale);
        }

        return (panel, scales);
    }

    private static float[] Random(int count)
    {
        var random = new Random(count);
        return [.. Enumerable.Range(0, count).Select(_ => (random.NextSingle() - 0.5f) * 6)];
    }
}
