using System.Text.Json;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Tensors.Threading;
using static Espalier.Tests.Optim.OptimGolden;

namespace Espalier.Tests.Optim;

// One test sets the number of threads, on which the last bits of other tests depend.
[Collection("Workers")]
public sealed class OptimizerTests
{
    [Theory]
    [InlineData("sgd", 0.1f)]
    [InlineData("sgd-decay", 0.1f)]
    [InlineData("sgd-momentum", 0.1f)]
    [InlineData("sgd-nesterov", 0.1f)]
    [InlineData("adam", 0.01f)]
    [InlineData("adam-decay", 0.01f)]
    [InlineData("adamw", 0.01f)]
    [InlineData("adamw-decay", 0.01f)]
    public void FollowsPyTorch(string variant, float lr)
    {
        using Tensor p = Parameter(Floats(Root.GetProperty("start")));
        using Optimizer optimizer = Make(variant, Group(p));
        int step = 0;
        foreach (JsonElement gradient in Root.GetProperty("gradients").EnumerateArray())
        {
            SetGrad(p, Floats(gradient));
            optimizer.Step(lr);
            if (Root.GetProperty("weights").GetProperty(variant).TryGetProperty($"{++step}", out JsonElement expected))
                AssertClose(Floats(expected), p.Span);
        }
        Assert.Equal(10, step);
    }

    [Fact]
    public void SkipsParametersWithoutGradient()
    {
        using Tensor a = Parameter(1, 2), b = Parameter(3, 4);
        using var optimizer = new AdamW(Group(a, b));
        SetGrad(a, [1, 1]);
        optimizer.Step(0.1f);
        Assert.Equal([3f, 4f], b.ToArray());
        Assert.NotEqual(1f, a.Span[0]);
        Assert.Equal(["m/p0", "v/p0"], optimizer.State().Select(s => s.Name));
        Assert.Equal([1L, 0L], optimizer.Updates());
    }

    /// <summary>Elements whose weights were replaced have no past; slow weights are the new ones. Counters go on.</summary>
    [Theory]
    [InlineData("adam")]
    [InlineData("lookahead")]
    public void RenewedElementsHaveNoPast(string name)
    {
        using Tensor p = Parameter(1, 2, 3), other = Parameter(1);
        using Optimizer optimizer = Optimizers.Create(name, Group(p));
        optimizer.Renew(p, [0..3]);                                 // nothing is kept yet
        SetGrad(p, [1, 1, 1]);
        optimizer.Step(0.1f);
        var before = optimizer.State().ToDictionary(s => s.Name, s => s.Value.ToArray());
        p.Span[1] = 7;
        optimizer.Renew(p, [1..2]);
        optimizer.Renew(other, [0..1]);
        foreach (var (slot, state) in optimizer.State())
        {
            float[] expected = [before[slot][0], slot == "slow/p0" ? 7 : 0, before[slot][2]];
            Assert.Equal(expected, state.ToArray());
            Assert.NotEqual(0, expected[0]);
        }
        Assert.Equal(2, optimizer.State().Count());
        Assert.Equal([1L], optimizer.Updates());
    }

    [Fact]
    public void GroupsHaveTheirOwnRateAndDecay()
    {
        using Tensor a = Parameter(1), b = Parameter(1), c = Parameter(1);
        ParameterGroup[] groups =
        [
            new("a", [("a", a)]),
            new("b", [("b", b)]) { LearningRateScale = 2, WeightDecay = 0 },
            new("c", [("c", c)]) { LearningRateScale = 0 },
        ];
        using var optimizer = new Sgd(groups, weightDecay: 1);
        foreach (Tensor p in new[] { a, b, c }) SetGrad(p, [1]);
        optimizer.Step(0.125f);
        Assert.Equal([0.75f, 0.75f, 1f], [a.Item(), b.Item(), c.Item()]);
    }

    [Fact]
    public void TheSameNameTwiceIsRefused()
    {
        using Tensor a = Parameter(1);
        Assert.Throws<ArgumentException>(() => new Sgd([new("x", [("a", a)]), new("y", [("a", a)])]));
    }

    [Theory]
    [InlineData("sgd-nesterov")]
    [InlineData("adamw-decay")]
    public void ContinuesFromItsSavedState(string variant)
    {
        float[] start = Floats(Root.GetProperty("start"));
        float[][] gradients = [.. Root.GetProperty("gradients").EnumerateArray().Select(Floats)];
        using Tensor whole = Parameter(start), resumed = Parameter(start);
        using Optimizer one = Make(variant, Group(whole)), first = Make(variant, Group(resumed)),
            second = Make(variant, Group(resumed));
        for (int i = 0; i < gradients.Length; i++)
        {
            SetGrad(whole, gradients[i]);
            one.Step(0.05f);
            SetGrad(resumed, gradients[i]);
            if (i == 4)
            {
                var saved = first.State().ToDictionary(s => s.Name, s => s.Value);
                second.Load(first.Updates(), (name, t) => t.CopyFrom(saved[name]));
            }
            (i < 4 ? first : second).Step(0.05f);
        }
        Assert.Equal(whole.ToArray(), resumed.ToArray());
    }

    [Fact]
    public void ThreadsDoNotChangeTheResult()
    {
        const int size = 70_001;
        float[] start = new float[size], gradient = new float[size];
        var rng = new Rng(3);
        for (int i = 0; i < size; i++) (start[i], gradient[i]) = (rng.NextNormal(), rng.NextNormal());
        float[] Run(int threads)
        {
            int before = Workers.Threads;
            Workers.Threads = threads;
            try
            {
                using Tensor p = Parameter(start);
                using var optimizer = new AdamW(Group(p));
                SetGrad(p, gradient);
                for (int i = 0; i < 3; i++) optimizer.Step(0.01f);
                return p.ToArray();
            }
            finally
            {
                Workers.Threads = before;
            }
        }
        float[] one = Run(1);
        Assert.Equal(one, Run(2));
        Assert.Equal(one, Run(5));
        Assert.NotEqual(one[size - 1], start[size - 1]);
    }

    [Fact]
    public void AWarmStepAllocatesNothing()
    {
        using Tensor p = Parameter(new float[40_000]), q = Parameter(new float[7]);
        SetGrad(p, new float[40_000]);
        SetGrad(q, new float[7]);
        using var sgd = new Sgd(Group(p, q), momentum: 0.9f);
        using var adam = new Adam(Group(p, q));
        Tensor[] parameters = [p, q];
        void Step()
        {
            sgd.Step(0.1f);
            adam.Step(0.1f);
            GradientClip.ByGlobalNorm(parameters, 1);
        }
        for (int i = 0; i < 3; i++) Step();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) Step();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private static Optimizer Make(string variant, ParameterGroup[] groups) => variant switch
    {
        "sgd" => new Sgd(groups),
        "sgd-decay" => new Sgd(groups, weightDecay: 0.01f),
        "sgd-momentum" => new Sgd(groups, momentum: 0.9f, weightDecay: 0.01f),
        "sgd-nesterov" => new Sgd(groups, momentum: 0.9f, weightDecay: 0.01f, nesterov: true),
        "adam" => new Adam(groups),
        "adam-decay" => new Adam(groups, 0.8, 0.95, 1e-5, 0.1f),
        "adamw" => new AdamW(groups),
        "adamw-decay" => new AdamW(groups, 0.8, 0.95, 1e-5, 0.3f),
        _ => throw new ArgumentOutOfRangeException(nameof(variant)),
    };
}
