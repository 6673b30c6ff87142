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
}
