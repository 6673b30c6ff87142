using Espalier.Compression;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.RePr;

public sealed class FilterOverlapTests
{
    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(5, 0.01f, 300)]
    public void ThreeFiltersByHandWhateverTheirLengths(float first, float second, float third)
    {
        double[] overlap = FilterOverlap.Of([[first, 0], [0, 2 * second], [third, third]]);
        Expect([0.2357023, 0.2357023, 0.4714045], overlap);
    }

    /// <summary>Dividing by the norm of the whole layer and taking |mean| would be another measure, which depends on lengths.</summary>
    [Fact]
    public void ItIsNotTheMeasureByFrobeniusNorm()
    {
        float[][] w = [[1, 0], [0, 2], [1, 1]];
        double square = w.Sum(row => row.Sum(x => (double)x * x));
        double[] other = [.. w.Select((a, f) =>
            Math.Abs(w.Where((_, j) => j != f).Sum(b => (double)(a[0] * b[0] + a[1] * b[1])) / square) / w.Length)];
        Expect([0.0476190, 0.0952381, 0.1428571], other);
        Assert.All(FilterOverlap.Of(w).Zip(other), pair => Assert.True(Math.Abs(pair.First - pair.Second) > 0.1));
    }

    [Fact]
    public void OppositeFiltersOverlap() => Expect([0.5, 0.5], FilterOverlap.Of([[1, -2, 3], [-1, 2, -3]]));

    [Fact]
    public void EqualFiltersOverlapMostAndOrthogonalOnesNotAtAll()
    {
        Expect([.. Enumerable.Repeat(0.96875, 32)], FilterOverlap.Of([.. Enumerable.Range(0, 32).Select(_ => new float[] { 3, -1, 2 })]));
        Expect(new double[4], FilterOverlap.Of([[0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0, 0, 5, 0]]));
    }

    [Fact]
    public void AFilterWithoutWeightsIsNoError() => Expect([0, 0, 0], FilterOverlap.Of([[0, 0], [1, 0], [0, 1]]));

    /// <summary>Random filters of 27 and of 288 weights overlap by 0.155 and 0.047; times the root of that, about alike.</summary>
    [Theory]
    [InlineData(27, 0, 0.154981)]
    [InlineData(288, 0, 0.047057)]
    [InlineData(27, 0.5, 0.805305)]
    [InlineData(288, 0.5, 0.798577)]
    [InlineData(27, 0.25, 0.353280)]
    [InlineData(288, 0.25, 0.193851)]
    public void RandomFiltersOverlapByFanIn(int fanIn, double alpha, double expected)
    {
        const int Filters = 200;
        var rng = new Rng(5);
        using Tensor weight = Tensor.Unscoped(new Shape(Filters, fanIn / 9, 3, 3));
        foreach (ref float x in weight.Span) x = rng.NextNormal();
        double mean = FilterOverlap.Of(Group(weight), alpha).Average() * Filters / (Filters - 1);
        Assert.Equal(expected, mean, 0.02 * expected);
    }

    internal static ChannelGroup Group(Tensor weight) => new("layer", 0,
        [new GroupSlice("layer.weight", weight, 0, ChannelRole.Producer,
            [.. Enumerable.Range(0, weight.Shape[0]).Select(k => (int[])[k])])], false, null);

    private static void Expect(double[] expected, double[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, 1e-6));
    }
}
