using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels;

public sealed unsafe class ChannelMovesTests
{
    /// <summary>Runs and single channels, between pixels that are not side by side; what is not named stays as it was.</summary>
    [Theory]
    [InlineData(3, 11)]
    [InlineData(5000, 9)]
    [InlineData(2000, 0)]
    public void EachChannelGoesToItsPlace(int pixels, int ldx)
    {
        int[] from = [3, 4, 5, 0, 8, 7], to = [0, 1, 2, 6, 4, 9];
        const int Ldy = 12;
        float[] x = new float[pixels * ldx + 16], y = new float[pixels * Ldy];
        for (int i = 0; i < x.Length; i++) x[i] = i;
        Array.Fill(y, -1);
        using var moves = new ChannelMoves(from, to);
        fixed (float* px = x, py = y) moves.Run(pixels, px, ldx, py, Ldy);
        for (int p = 0; p < pixels; p++)
        {
            for (int c = 0; c < Ldy; c++)
            {
                int k = Array.IndexOf(to, c);
                Assert.Equal(k < 0 ? -1 : p * ldx + from[k], y[p * Ldy + c]);
            }
        }
    }

    /// <summary>A list with gaps, whose length is no whole number of vectors; the shift fills the gaps; between pixels nothing is
    /// written.</summary>
    [Theory]
    [InlineData(3, 8, false, 1)]
    [InlineData(700, 27, false, 1)]
    [InlineData(700, 27, true, 1)]
    [InlineData(3, 5, true, 1)]
    [InlineData(50, 64, true, 1)]
    [InlineData(50, 101, false, 2)]
    [InlineData(50, 101, true, 3)]
    [InlineData(50, 40, true, -1)]
    public void ListsWithGapsAreSpread(int pixels, int count, bool shifted, int step)
    {
        int[] from = new int[count];
        int channels = 0;
        for (int k = 0; k < count; k++) from[k] = k % 3 == 1 ? -1 : Math.Abs(step) * channels++ + k % Math.Abs(step);
        channels = channels * Math.Abs(step) + 1;
        if (step < 0) Array.Reverse(from);
        int ldx = channels + 1, ldy = count + 2;
        float[] x = new float[pixels * ldx], y = new float[pixels * ldy], shift = new float[count];
        for (int i = 0; i < x.Length; i++) x[i] = i;
        for (int k = 0; shifted && k < count; k++) shift[k] = k * 0.5f;
        Array.Fill(y, -1);
        using var spread = new ChannelSpread(from, channels, shift);
        fixed (float* px = x, py = y) spread.Run(pixels, px, ldx, py, ldy);
        for (int p = 0; p < pixels; p++)
        {
            for (int c = 0; c < ldy; c++)
            {
                float wanted = c >= count ? -1 : shift[c] + (from[c] < 0 ? 0 : p * ldx + from[c]);
                Assert.Equal(wanted, y[p * ldy + c]);
            }
        }
    }

    /// <summary>Where a list jumps each vector gives one result: then it is of no use.</summary>
    [Fact]
    public void ListsThatJumpTakeAsManyVectors()
    {
        int[] jumps = [.. Enumerable.Range(0, 40).Select(k => k * 17 % 680)], picks = [.. Enumerable.Range(0, 40).Select(k => 2 * k)];
        Assert.Equal(40, ChannelSpread.Vectors(jumps, 680));
        Assert.InRange(ChannelSpread.Vectors(picks, 80), 5, 10);
        Assert.Equal(3, ChannelSpread.Vectors([0, 1, 2], 3));
        Assert.Throws<ArgumentException>(() => new ChannelSpread([0, 1], 2, [1]));
    }
}
