using Espalier.Compression;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Tests.Compression.RePr;

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
