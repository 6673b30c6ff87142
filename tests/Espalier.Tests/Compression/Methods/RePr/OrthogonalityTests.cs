using Espalier.Compression.Methods.RePr;
using Espalier.Compression;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Tests.Compression.Methods;

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
            [.. Enumerable.Range(0, weight.Shape[0]).Select(k => (int[])[k])])], ChannelKind.Channels, null);

    private static void Expect(double[] expected, double[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, 1e-6));
    }
}

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

public sealed class OrthogonalFiltersTests
{
    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 0.5773503f)]
    public void TheDirectionThatIsLeftComesBack(bool clip, float value)
    {
        var rng = new Rng(1);
        float[] made = new OrthogonalFilters(clip, relax: false).Make([[0, 1, 0]], [[1, 0, 0]], ref rng)[0];
        Assert.Equal([0, 0], made[..2]);
        Assert.Equal(value, Math.Abs(made[2]), 1e-6f);
    }

    /// <summary>(0.8, 0.6, 0, 0) is orthogonal to (0.6, -0.8, 0, 0); limited to 1/sqrt(4) it no longer is.</summary>
    [Fact]
    public void LimitingEntriesBreaksOrthogonality()
    {
        float[] survivor = [0.6f, -0.8f, 0, 0];
        Assert.Equal(0, 0.8f * survivor[0] + 0.6f * survivor[1], 1e-6f);
        Assert.Equal(-0.1f, 0.5f * survivor[0] + 0.5f * survivor[1], 1e-6f);
        // Of filters made with the third and fourth axis taken away only that direction is left.
        var rng = new Rng(2);
        float[][] stayed = [survivor, [0, 0, 1, 0]], old = [[0, 0, 0, 1]];
        float[] exact = new OrthogonalFilters(clip: false, relax: false).Make(old, stayed, ref rng)[0];
        float[] clipped = new OrthogonalFilters(clip: true, relax: false).Make(old, stayed, ref rng)[0];
        Assert.Equal(0, TensorPrimitives.Dot<float>(exact, survivor), 1e-6f);
        Assert.Equal(0.1f, Math.Abs(TensorPrimitives.Dot<float>(clipped, survivor)), 1e-6f);
        Assert.Equal([0.5f, 0.5f], clipped[..2].Select(Math.Abs));
    }

    [Fact]
    public void NewFiltersAreOrthogonalToOldAndStayedAndHaveTheMeanNorm()
    {
        var rng = new Rng(3);
        float[][] old = Random(9, 288, 0.3f, ref rng), stayed = Random(23, 288, 0.1f, ref rng);
        float[][] made = new OrthogonalFilters(clip: false, relax: false).Make(old, stayed, ref rng);
        float mean = stayed.Average(f => TensorPrimitives.Norm<float>(f));
        Assert.Equal(9, made.Length);
        foreach (float[] f in made)
        {
            Assert.Equal(mean, TensorPrimitives.Norm<float>(f), 1e-4f);
            Assert.All(old.Concat(stayed).Concat(made).Where(o => o != f), o => Assert.Equal(0, Cosine(o, f), 1e-5f));
        }
    }

    /// <summary>32 filters of 27 weights span everything: nothing is orthogonal to all of them.</summary>
    [Fact]
    public void WithoutRoomFiltersAreUniform()
    {
        var rng = new Rng(4);
        float[][] old = Random(9, 27, 1, ref rng), stayed = Random(23, 27, 1, ref rng);
        float[] all = [.. new OrthogonalFilters(clip: false, relax: false).Make(old, stayed, ref rng).SelectMany(f => f)];
        float bound = 1 / MathF.Sqrt(27);
        Assert.All(all, x => Assert.InRange(x, -bound, bound));
        Assert.Equal(bound * bound / 3, all.Average(x => x * x), 0.01f);
        Assert.True(all.Max() > 0.9f * bound && all.Min() < -0.9f * bound);
    }

    /// <summary>One filter then keeps off the 26 that overlap most, several off as many fewer and one another.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(9)]
    public void RelaxedFiltersKeepOffTheMostOverlapping(int count)
    {
        var rng = new Rng(5);
        float[][] old = Random(count, 27, 1, ref rng), stayed = Random(32 - count, 27, 1, ref rng), all = [.. old, .. stayed];
        float[][] made = new OrthogonalFilters(clip: false, relax: true).Make(old, stayed, ref rng);
        double[] overlap = FilterOverlap.Of(all);
        float[][] most = [.. Enumerable.Range(0, 32).OrderByDescending(f => overlap[f]).Take(27 - count).Select(f => all[f])];
        foreach (float[] f in made)
            Assert.All(most.Concat(made).Where(o => o != f), o => Assert.Equal(0, Cosine(o, f), 1e-5f));
    }

    private static float Cosine(float[] a, float[] b) =>
        TensorPrimitives.Dot<float>(a, b) / (TensorPrimitives.Norm<float>(a) * TensorPrimitives.Norm<float>(b));

    private static float[][] Random(int count, int length, float scale, ref Rng rng)
    {
        var filters = new float[count][];
        for (int i = 0; i < count; i++)
        {
            filters[i] = new float[length];
            foreach (ref float x in filters[i].AsSpan()) x = scale * rng.NextNormal();
        }
        return filters;
    }
}

public sealed class PivotedQrTests
{
    [Theory]
    [InlineData(32, 27, 0)]
    [InlineData(32, 288, 256)]
    [InlineData(1, 5, 4)]
    [InlineData(0, 5, 5)]
    [InlineData(7, 7, 0)]
    public void RandomVectorsHaveFullRank(int count, int length, int nullDimension)
    {
        var rng = new Rng(3);
        Assert.Equal(nullDimension, new PivotedQr(Random(count, length, ref rng), length).NullDimension);
    }

    /// <summary>Combinations of three vectors, at very different scales.</summary>
    [Fact]
    public void DependentVectorsDoNotCount()
    {
        var rng = new Rng(4);
        double[][] basis = Random(3, 40, ref rng), vectors = new double[9][];
        for (int i = 0; i < vectors.Length; i++)
        {
            vectors[i] = new double[40];
            foreach (double[] b in basis)
                TensorPrimitives.MultiplyAdd(b, Math.Pow(10, i % 4) * rng.NextNormal(), vectors[i], vectors[i]);
        }
        Assert.Equal(3, new PivotedQr(vectors, 40).Rank);
        Assert.Equal(0, new PivotedQr([new double[4], new double[4]], 4).Rank);
        Assert.Equal(1, new PivotedQr([[1, 2], [1, 2], [-2, -4]], 2).Rank);
    }

    [Theory]
    [InlineData(5, 9, 4)]
    [InlineData(32, 288, 40)]
    [InlineData(0, 6, 6)]
    public void DirectionsAreOrthogonalToAllAndToOneAnother(int count, int length, int wanted)
    {
        var rng = new Rng(6);
        double[][] vectors = Random(count, length, ref rng);
        double[][] copies = [.. vectors.Select(v => (double[])v.Clone())];
        double[][] found = new PivotedQr(vectors, length).NullDirections(wanted, ref rng);
        Assert.Equal(wanted, found.Length);
        Assert.Equal(copies, vectors);
        foreach (double[] v in found)
        {
            Assert.Equal(1, TensorPrimitives.Norm<double>(v), 1e-12);
            Assert.All(vectors, w => Assert.Equal(0, TensorPrimitives.Dot<double>(v, w), 1e-12));
            Assert.All(found.Where(w => w != v), w => Assert.Equal(0, TensorPrimitives.Dot<double>(v, w), 1e-12));
        }
    }

    [Fact]
    public void TheOnlyDirectionLeftIsFound()
    {
        var rng = new Rng(7);
        double[] v = new PivotedQr([[0, 1, 0], [1, 0, 0]], 3).NullDirections(1, ref rng)[0];
        Assert.Equal([0, 0, 1], v.Select(Math.Abs));
        Assert.Throws<ArgumentOutOfRangeException>(() => new PivotedQr([[0, 1, 0], [1, 0, 0]], 3).NullDirections(2, ref rng));
    }

    private static double[][] Random(int count, int length, ref Rng rng)
    {
        var vectors = new double[count][];
        for (int i = 0; i < count; i++)
        {
            vectors[i] = new double[length];
            foreach (ref double x in vectors[i].AsSpan()) x = rng.NextNormal();
        }
        return vectors;
    }
}
