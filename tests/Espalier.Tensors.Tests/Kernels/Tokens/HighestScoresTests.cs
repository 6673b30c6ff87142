using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Tokens;

public sealed unsafe class HighestScoresTests
{
    /// <summary>Against a sort, with many equal scores and some that are no number.</summary>
    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(197, 1)]
    [InlineData(197, 3)]
    public void TheLimitIsThatOfASort(int length, int stride)
    {
        var rng = new Rng(7);
        using var scores = new GuardedFloats(length * stride);
        for (int i = 0; i < scores.Length; i++) scores[i] = rng.NextInt(9) is > 0 and var s ? s : float.NaN;
        float[] sorted = [.. Enumerable.Range(0, length).Select(i => scores[i * stride])
            .Select(s => float.IsNaN(s) ? float.PositiveInfinity : s).OrderDescending()];
        for (int count = 1; count <= length; count++)
        {
            float limit = sorted[count - 1];
            Assert.Equal((limit, sorted.Take(count).Count(s => s == limit)),
                HighestScores.Of(scores.Pointer, stride, length, count));
        }
        Assert.Equal((float.PositiveInfinity, 0), HighestScores.Of(scores.Pointer, stride, length, 0));
    }
}
