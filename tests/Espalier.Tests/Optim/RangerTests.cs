using Espalier.Optim;
using Espalier.Tensors;
using static Espalier.Tests.Optim.OptimGolden;

namespace Espalier.Tests.Optim;

/// <summary>RAdam, Lookahead and Ranger against sequences worked out in double precision.</summary>
public sealed class RangerTests
{
    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 1.9995)]
    [InlineData(3, 2.998666)]
    [InlineData(4, 3.997499)]
    [InlineData(5, 4.995998)]
    [InlineData(6, 5.994164)]
    [InlineData(1_000_000, 1999)]
    public void Samples(long step, double expected) => Assert.Equal(expected, RAdam.Samples(0.999, step), 1e-6);

    /// <summary>Step 5 is the first above 4, step 6 the first of at least 5.</summary>
    [Theory]
    [InlineData(0.999)]
    [InlineData(0.99)]
    public void TheSlopeSettlesAtTheSixthStep(double beta2)
    {
        long First(Func<double, bool> settled) => Enumerable.Range(1, 20).First(t => settled(RAdam.Samples(beta2, t)));
        Assert.Equal(5, First(samples => samples > 4));
        Assert.Equal(6, First(samples => samples >= 5));
    }

    [Theory]
    [InlineData(5, 0.0173115)]
    [InlineData(6, 0.0258211)]
    [InlineData(10, 0.0489980)]
    [InlineData(100, 0.2153354)]
    [InlineData(1000, 0.6453256)]
    public void Rectification(long step, double expected) => Assert.Equal(expected, RAdam.Rectification(0.999, step), 1e-7);

    [Fact]
    public void RAdamMovesAlongTheMomentumAtFirst() => AssertPath(g => new RAdam(g), _ => 1,
        [.9f, .8f, .7f, .6f, .5f, .49741789f, .49414401f, .49027018f]);

    [Fact]
    public void RAdamCanWaitInstead() => AssertPath(g => new RAdam(g, early: false), _ => 1,
        [1, 1, 1, 1, 1, .99741789f, .99414401f, .99027018f]);

    [Fact]
    public void RAdamWithThePapersThreshold() => AssertPath(g => new RAdam(g) { Settled = 4 }, _ => 1,
        [.9f, .8f, .7f, .6f, .59826885f]);

    [Fact]
    public void RAdamOnAParabola() => AssertPath(g => new RAdam(g), w => w,
        [.9f, .80526316f, .71577005f, .63148663f, .55236420f, .54992098f]);

    [Fact]
    public void RAdamDecaysOnlyWhereItMoves()
    {
        AssertPath(g => new RAdam(g, weightDecay: 0.5f), _ => 0, [.95f, .9025f]);
        AssertPath(g => new RAdam(g, weightDecay: 0.5f, early: false), _ => 0, [1, 1, 1, 1, 1, .95f]);
    }

    [Fact]
    public void RangerOfAVector()
    {
        float[] path = Path(g => Ranger.Create(g), _ => 1, 12);
        AssertClose([.9f, .8f, .7f, .6f, .5f, .74870911f, .74543562f], path.AsSpan(0, 7));
        Assert.Equal(.73491863f, path[11], 2e-6f);
    }

    [Fact]
    public void LookaheadOverGradientDescent()
    {
        float[] path = Path(g => new Lookahead(new Sgd(g), 5, 0.5f), _ => 1, 10);
        Assert.Equal(.6f, path[3], 1e-6f);
        Assert.Equal(.75f, path[4], 1e-6f);
        Assert.Equal(.35f, path[8], 1e-6f);
        Assert.Equal(.5f, path[9], 1e-6f);
    }

    [Fact]
    public void CentralisationTakesTheMeanOfEachRow()
    {
        using Tensor gradient = Tensor.Unscoped(new Shape(2, 3)), vector = Tensor.Unscoped(new Shape(3));
        new float[] { 1, 2, 3, 4, 4, 4 }.CopyTo(gradient.Span);
        new float[] { 1, 2, 3 }.CopyTo(vector.Span);
        GradientCentralisation.Run(gradient);
        GradientCentralisation.Run(vector);
        Assert.Equal([-1f, 0, 1, 0, 0, 0], gradient.ToArray());
        Assert.Equal([1f, 2, 3], vector.ToArray());
    }

    /// <summary>A removed filter must not come back with the slow weights.</summary>
    [Fact]
    public void AMaskedWeightStaysZeroAfterTheMerge()
    {
        using Tensor p = Parameter(1, 1);
        using Optimizer ranger = Ranger.Create(Group(p));
        float[] masked = new float[6];
        for (int step = 0; step < 9; step++)
        {
            SetGrad(p, [1, step < 3 ? 1 : 0]);
            ranger.Step(0.1f);
            if (step == 2)
            {
                p.Span[1] = 0;
                ranger.Renew(p, [1..2]);
            }
            else if (step > 2)
            {
                masked[step - 3] = p.Span[1];
            }
        }
        Assert.All(masked, w => Assert.Equal(0, w));
        Assert.Contains("slow/p0", ranger.State().Select(s => s.Name));
    }

    [Fact]
    public void RangerContinuesFromItsSavedState()
    {
        using Tensor whole = Parameter(1, -2), resumed = Parameter(1, -2);
        using Optimizer one = Ranger.Create(Group(whole)), first = Ranger.Create(Group(resumed)),
            second = Ranger.Create(Group(resumed));
        for (int i = 0; i < 15; i++)
        {
            SetGrad(whole, [whole.Span[0], i]);
            one.Step(0.05f);
            SetGrad(resumed, [resumed.Span[0], i]);
            if (i == 8)
            {
                var saved = first.State().ToDictionary(s => s.Name, s => s.Value);
                second.Load(first.Updates(), (name, t) => t.CopyFrom(saved[name]));
            }
            (i < 8 ? first : second).Step(0.05f);
        }
        Assert.Equal(whole.ToArray(), resumed.ToArray());
    }

    [Theory]
    [InlineData("radam", 1e-3f)]
    [InlineData("ranger", 1e-3f)]
    [InlineData("lookahead", 0.03f)]
    public void AreKnownByName(string name, float rate)
    {
        using Tensor p = Parameter(1);
        using Optimizer optimizer = Optimizers.Create(name, Group(p));
        SetGrad(p, [1]);
        optimizer.Step(rate);
        Assert.Equal(1 - rate, p.Item(), 1e-6f);
        Assert.Contains(name, Optimizers.Names);
        Assert.Equal(rate, Optimizers.DefaultLearningRate(name));
    }

    private static void AssertPath(Func<ParameterGroup[], Optimizer> make, Func<float, float> gradient, float[] expected) =>
        AssertClose(expected, Path(make, gradient, expected.Length));

    /// <summary>One weight from 1, rate 0.1: where it is after each step.</summary>
    private static float[] Path(Func<ParameterGroup[], Optimizer> make, Func<float, float> gradient, int steps)
    {
        using Tensor p = Parameter(1);
        using Optimizer optimizer = make(Group(p));
        var path = new float[steps];
        for (int i = 0; i < steps; i++)
        {
            SetGrad(p, [gradient(p.Item())]);
            optimizer.Step(0.1f);
            path[i] = p.Item();
        }
        return path;
    }
}
