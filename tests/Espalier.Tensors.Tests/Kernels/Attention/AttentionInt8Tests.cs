using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels.Attention;

[Collection("Workers")]
public sealed class AttentionInt8Tests : IDisposable
{
    private readonly int before = Workers.Threads;

    public void Dispose() => Workers.Threads = before;

    private static Int8TilePortable Plain => new(12, 32);

    [Theory]
    [InlineData(new[] { 1 }, new[] { 8 }, new[] { 8 })]
    [InlineData(new[] { 50, 3, 0, 65 }, new[] { 16, 16 }, new[] { 16, 16 })]
    [InlineData(new[] { 197, 33 }, new[] { 64 }, new[] { 64 })]
    [InlineData(new[] { 31, 32, 34 }, new[] { 13, 5 }, new[] { 21, 40 })]
    public void IsNearWhatFloatsGive(int[] tokens, int[] queryWidths, int[] valueWidths)
    {
        using var c = new AttentionCase(tokens, new HeadLayout(queryWidths, valueWidths));
        float[] expected = c.Outputs(), actual = c.Int8(Plain);
        double error = 0, size = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            if (float.IsNaN(expected[i])) continue;
            Assert.Equal(expected[i], actual[i], 0.15f);
            (error, size) = (error + Math.Pow(expected[i] - actual[i], 2), size + Math.Pow(expected[i], 2));
        }
        Assert.InRange(Math.Sqrt(error / size), 0, 0.03);
    }

    [Fact]
    public void AllKernelsAndNumbersOfThreadsGiveTheSameBits()
    {
        using var c = new AttentionCase([70, 5, 130], HeadLayout.Uniform(2, 24), [70, 5, 40]);
        Workers.Threads = 1;
        float[] plain = c.Int8(Plain), other = c.Int8(new Int8TilePortable(5, 32));
        Workers.Threads = 3;
        Assert.Equal(plain, c.Int8(Plain));
        Assert.Equal(plain, other);
        if (DotKernels.Int8.Tile is { Columns: 32 } tile) Assert.Equal(plain, c.Int8(tile));
    }

    [Theory]
    [InlineData(0, float.NaN)]
    [InlineData(1, float.NaN)]
    [InlineData(2, float.NaN)]
    [InlineData(1, float.PositiveInfinity)]
    public void WhatIsNoNumberStaysNone(int part, float bad)
    {
        using var c = new AttentionCase([40, 40], HeadLayout.Uniform(1, 16));
        float[] good = c.Int8(Plain);
        c.At(7, part) = bad;
        float[] y = c.Int8(Plain, numbers: false);
        int width = y.Length / 80;
        for (int row = 0; row < 80; row++)
            for (int i = 0; i < 16; i++)
            {
                bool none = row < 40 && (part == 1 || (part == 0 ? row == 7 : i == 0));
                Assert.Equal(none ? float.NaN : good[row * width + i], y[row * width + i]);
            }
    }

    [Fact]
    public void ZerosGiveTheMean()
    {
        using var c = new AttentionCase([36], HeadLayout.Uniform(1, 32));
        for (int row = 0; row < 36; row++)
            for (int part = 0; part < 2; part++)
                for (int i = 0; i < 32; i++) System.Runtime.CompilerServices.Unsafe.Add(ref c.At(row, part), i) = 0;
        float[] expected = c.Outputs(), y = c.Int8(Plain);
        for (int i = 0; i < y.Length; i++) if (!float.IsNaN(expected[i])) Assert.Equal(expected[i], y[i], 0.01f);
    }
}
