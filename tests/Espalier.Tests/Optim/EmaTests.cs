using Espalier.Optim;
using Espalier.Tensors;
using static Espalier.Tests.Optim.OptimGolden;

namespace Espalier.Tests.Optim;

public sealed class EmaTests
{
    [Fact]
    public void AveragesWithTheDecayGiven()
    {
        using Tensor w = Parameter(1, 0);
        using var ema = new Ema([("w", w)], 0.75, warmup: false);
        new float[] { 3, 4 }.CopyTo(w.Span);
        ema.Update();
        Assert.Equal([1.5f, 1f], ema.State().Single().Value.ToArray());
        ema.Update();
        Assert.Equal([1.875f, 1.75f], ema.State().Single().Value.ToArray());
        Assert.Equal([3f, 4f], w.ToArray());
    }

    /// <summary>A mask's constants are weights of a graph, too.</summary>
    [Fact]
    public void InfiniteConstantsStay()
    {
        using Tensor w = Parameter(float.NegativeInfinity, 0, float.PositiveInfinity);
        using var ema = new Ema([("w", w)], 0.75, warmup: false);
        w.Span[1] = 4;
        ema.Update();
        Assert.Equal([float.NegativeInfinity, 1, float.PositiveInfinity], ema.State().Single().Value.ToArray());
    }

    [Fact]
    public void WarmUpLimitsTheDecay()
    {
        using Tensor w = Parameter(0);
        using var ema = new Ema([("w", w)], 0.999);
        w.Fill(1);
        ema.Update();
        Assert.Equal(0.9f, ema.State().Single().Value.Item(), 1e-6f);
        ema.Update();
        Assert.Equal(0.9f + 0.1f * 9 / 11, ema.State().Single().Value.Item(), 1e-6f);
    }

    [Fact]
    public void SwapPutsTheAveragesInAndTheWeightsBack()
    {
        using Tensor w = Parameter([.. Enumerable.Range(0, 37).Select(i => (float)i)]);
        float[] start = w.ToArray();
        using var ema = new Ema([("w", w)], 0.9);
        w.Fill(5);
        using (ema.Swap())
        {
            Assert.Equal(start, w.ToArray());
            Assert.Throws<InvalidOperationException>(() => ema.Swap());
            Assert.Throws<InvalidOperationException>(ema.Update);
        }
        Assert.All(w.ToArray(), x => Assert.Equal(5, x));
        Assert.Equal(start, ema.State().Single().Value.ToArray());
    }
}
