using Espalier.Compression;

namespace Espalier.Tests.Compression.RePr;

public sealed class DropRuleTests
{
    private static readonly double[] Tenths = [.. Enumerable.Range(1, 10).Select(i => i / 10.0)];

    [Fact]
    public void TheGlobalThresholdIsAPercentile()
    {
        Assert.Equal(0.73, DropRule.Percentile(Tenths, 0.7), 1e-12);
        Assert.Equal([7, 8, 9], Choose([Tenths], 0.3, global: true)[0]);
    }

    [Fact]
    public void NoLayerLosesAllFilters()
    {
        double[][] overlap = [[0.5, 0.6], [0.1, 0.2, 0.3, 0.4]];
        Assert.Equal(0.4333333, DropRule.Percentile([.. overlap[0], .. overlap[1]], 2.0 / 3), 1e-6);
        int[][] dropped = Choose(overlap, 1.0 / 3, global: true);
        Assert.Equal([1], dropped[0]);
        Assert.Empty(dropped[1]);
    }

    [Fact]
    public void ALayerKeepsATenthAtLeast()
    {
        Assert.Equal([1, 1, 1, 2, 4, 52], new[] { 1, 2, 10, 11, 32, 512 }.Select(DropRule.Fewest));
        double[] first = [.. Enumerable.Repeat(0.9, 31), 0.8], second = [.. Enumerable.Repeat(0.1, 64)];
        int[] dropped = Choose([first, second], 0.5, global: true)[0];
        Assert.Equal(Enumerable.Range(0, 28), dropped);                 // of equals the lower numbers go first
    }

    [Theory]
    [InlineData(0.3, 10, 3)]
    [InlineData(0.3, 32, 9)]
    [InlineData(0.1, 30, 3)]
    [InlineData(0.3, 3, 0)]
    public void EachLayerLosesTheFloorOfTheShare(double share, int filters, int count)
    {
        double[] overlap = [.. Enumerable.Range(0, filters).Select(f => -(double)f)];
        Assert.Equal(Enumerable.Range(0, count), Choose([overlap, [5, 6]], share, global: false)[0]);
    }

    private static int[][] Choose(double[][] overlap, double share, bool global) =>
        DropRule.Choose(overlap, share, global, DropRule.Fewest);
}
