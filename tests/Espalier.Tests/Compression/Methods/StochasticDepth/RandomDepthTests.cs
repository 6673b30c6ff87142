using Espalier.Compression.Methods.StochasticDepth;
using Espalier.Compression;
using Espalier.Models;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class RandomDepthTests
{
    [Theory]
    [InlineData("resnet20")]
    [InlineData("resnet18")]
    public void ClosedGatesLeaveNoTraceInTheBranchButTheRestLearns(string network)
    {
        using Cnn net = CompressionJobs.Net(network, 32);
        using var depth = new RandomDepth(net, new StochasticDepth());
        foreach (var (_, gate) in depth.Gates) gate.Draw(() => 0);
        Assert.All(depth.Gates, g => Assert.False(g.Gate.IsOpen));
        Dictionary<string, float[]> buffers = net.NamedBuffers().ToDictionary(b => b.Name, b => b.Value.ToArray());

        Backward(net, depth);

        foreach (var (name, parameter) in net.NamedParameters())
        {
            float[] gradient = parameter.Grad!.ToArray();
            if (IsBranch(name)) Assert.All(gradient, g => Assert.Equal(0, g));
            else Assert.Contains(gradient, g => g != 0);
        }
        foreach (var (name, buffer) in net.NamedBuffers())
        {
            if (IsBranch(name)) Assert.Equal(buffers[name], buffer.ToArray());
            else Assert.NotEqual(buffers[name], buffer.ToArray());
        }
    }

    /// <summary>Momentum and decay move weights that had no part in a step, or leave them where they are to be frozen.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void SkippedWeightsMoveUnlessFrozen(bool freeze)
    {
        using Cnn net = CompressionJobs.Net("resnet20");
        using var depth = new RandomDepth(net, new StochasticDepth { FreezeSkipped = freeze });
        using var sgd = new Sgd(ParameterGroup.Of(net), momentum: 0.9f, weightDecay: 0.1f);
        var (block, gate) = depth.Gates[4];
        foreach (var (_, each) in depth.Gates) each.Draw(() => 0.9999);
        Backward(net, depth);
        sgd.Step(0.01f);
        net.ClearGrads();
        gate.Draw(() => 0);
        Tensor weight = block.Parameters().First();
        float[] before = weight.ToArray();
        Backward(net, depth);
        Assert.Equal(freeze, weight.Grad is null);
        sgd.Step(0.01f);
        if (freeze) Assert.Equal(before, weight.ToArray());
        else Assert.NotEqual(before, weight.ToArray());
    }

    [Fact]
    public void MicroBatchesOfAStepShareTheirGatesAndStepsDiffer()
    {
        using Cnn net = CompressionJobs.Net("resnet56", width: 0.125);
        using var depth = new RandomDepth(net, new StochasticDepth { Rule = SurvivalRule.Uniform, Survival = 0.5 });
        var patterns = new List<string>();
        foreach (var (step, part) in new[] { (1L, 0), (1L, 1), (2L, 0), (1L, 0) })
        {
            depth.BeforeForward(new StepContext(step, 9, 0, part, 2, new Rng(5, (ulong)step, (ulong)part)));
            patterns.Add(string.Concat(depth.Gates.Select(g => g.Gate.IsOpen ? '1' : '0')));
        }
        Assert.Equal(patterns[0], patterns[1]);
        Assert.NotEqual(patterns[0], patterns[2]);
        Assert.Equal(patterns[0], patterns[3]);
        Assert.InRange(patterns[0].Count(c => c == '1'), 5, 22);
    }

    /// <summary>An evaluation between training steps scales branches; gates that were open or closed have no say.</summary>
    [Fact]
    public void EvaluationUsesTheInferenceRule()
    {
        using var scope = new Scope();
        using Cnn net = CompressionJobs.Net("resnet20");
        Tensor images = CompressionJobs.Job(net, new CompressionOptions()).Example(3);
        net.Training = false;
        float[] plain = net.Forward(images).ToArray();
        using var depth = new RandomDepth(net, new StochasticDepth { Survival = 0.5 });
        foreach (var (_, gate) in depth.Gates) gate.Draw(() => 0);
        float[] first = net.Forward(images).ToArray();
        foreach (var (_, gate) in depth.Gates) gate.Draw(() => 0.9999);
        Assert.InRange(Removal.Difference(first, net.Forward(images).ToArray()), 0, 1e-6f);
        Assert.True(Removal.Difference(plain, first) > 1e-3f);
        BranchEnds.Fold(net, images, depth.Gates);
        depth.Dispose();
        Assert.All(net.Descendants<ResidualBlock>(), b => Assert.Null(b.Gate));
        Assert.InRange(Removal.Difference(first, net.Forward(images).ToArray()), 0, 1e-6f);
    }

    /// <summary>Branches that end with a batch norm, with one and a pooling, and with a convolution alone.</summary>
    [Theory]
    [InlineData("resnet18", 32)]
    [InlineData("resnet50", 32)]
    [InlineData("mobilenet_v2", 32)]
    [InlineData("efficientnet_b0", 32)]
    [InlineData("xception", 71)]
    [InlineData("preresnet164", 16)]
    [InlineData("resnet20", 16, true)]
    public void FoldingGivesWhatEvaluationGave(string network, int size, bool narrow = false)
    {
        using var scope = new Scope();
        using Cnn net = CompressionJobs.Net(network, size, 0.125);
        if (narrow) LoseFilters(net);
        net.Training = false;
        Tensor images = CompressionJobs.Job(net, new CompressionOptions()).Example(2);
        float[] plain = net.Forward(images).ToArray();
        using var depth = new RandomDepth(net, new StochasticDepth { Survival = 0.5 });
        float[] gated = net.Forward(images).ToArray();
        Assert.True(Removal.Difference(plain, gated) > 1e-4f);
        BranchEnds.Fold(net, images, depth.Gates);
        depth.Dispose();
        Assert.InRange(Removal.Difference(gated, net.Forward(images).ToArray()), 0, 1e-6f);
    }

    /// <summary>Branches that are narrower than the stream, with constants for the channels that they lost.</summary>
    private static void LoseFilters(Cnn net)
    {
        CompressionJobs.Job(net, CompressionMethods.Get("soft-filter") with
        {
            Selection = new() { Ratio = 0.3, MinKept = 1 }, TrainSteps = 1,
        }).Run();
        Assert.Contains(net.ResidualBlocks(), b => b.Block.Scatter!.Shift.ToArray().Any(s => s != 0));
    }

    private static bool IsBranch(string name) => name.StartsWith("layer", StringComparison.Ordinal) && !name.Contains("downsample");

    private static void Backward(Cnn net, RandomDepth depth)
    {
        using var scope = new Scope();
        Tensor images = CompressionJobs.Job(net, new CompressionOptions()).Example(8);
        using var recording = new Recording();
        recording.Backward(F.CrossEntropy(net.Forward(images), [0, 1, 2, 3, 4, 5, 6, 7]));
        depth.AfterBackward(new StepContext(1, 1, 0, 0, 1, new Rng(1)));
    }
}

public sealed class DepthGateTests
{
    [Theory]
    [InlineData(true, 0.75, new float[] { 3, 0 })]
    [InlineData(false, 0.75, new float[] { 1, 0 })]
    [InlineData(null, 0.75, new[] { 2.5f, 0 })]                          // ReLU(2.5, -2.75)
    public void OneBlock(bool? open, double survival, float[] expected)
    {
        using var scope = new Scope();
        using var block = new ToyBlock(x => Tensor.From(x.Shape, [2, -1])) { Training = open is not null };
        block.Gate = Gate(survival, open ?? true);
        Assert.Equal(expected, block.Forward(Vector(1, -2)).ToArray());
    }

    /// <summary>Without an activation the mean over all patterns of gates is what inference gives.</summary>
    [Fact]
    public void LinearBlocksAreExactInTheMean()
    {
        using var scope = new Scope();
        using ToyBlock first = new(x => x, relu: false), second = new(x => F.Mul(x, 2), relu: false);
        double mean = 0;
        foreach (bool a in new[] { false, true })
        {
            foreach (bool b in new[] { false, true })
            {
                (first.Gate, second.Gate) = (Gate(0.75, a), Gate(0.5, b));
                mean += (a ? 0.75 : 0.25) * 0.5 * second.Forward(first.Forward(Vector(1))).Item();
            }
        }
        first.Training = second.Training = false;
        Assert.Equal(3.5, mean, 1e-6);
        Assert.Equal(3.5f, second.Forward(first.Forward(Vector(1))).Item(), 1e-6f);
    }

    [Fact]
    public void WithReluTheMeanIsAnother()
    {
        using var scope = new Scope();
        using var block = new ToyBlock(x => Tensor.From(x.Shape, [2]));
        block.Gate = Gate(0.5, true);
        float open = block.Forward(Vector(-1)).Item();
        block.Gate = Gate(0.5, false);
        Assert.Equal(0.5f, 0.5f * open + 0.5f * block.Forward(Vector(-1)).Item());
        block.Training = false;
        Assert.Equal(0, block.Forward(Vector(-1)).Item());
    }

    [Theory]
    [InlineData(0.75, 0.3, true)]
    [InlineData(0.5, 0.6, true)]
    [InlineData(0.75, 0.2, false)]
    [InlineData(0.75, 0.25, true)]
    [InlineData(0.5, 0.4999, false)]
    public void ADrawBelowTheDeathRateCloses(double survival, double drawn, bool open)
    {
        var gate = new DepthGate(survival);
        gate.Draw(() => drawn);
        Assert.Equal(open, gate.IsOpen);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ABlockThatSurelyRunsDrawsNothing(bool perSample)
    {
        using var scope = new Scope();
        using var block = new ToyBlock(x => x);
        var gate = new DepthGate(1, perSample);
        block.Gate = gate;
        gate.Draw(() => throw new InvalidOperationException("drawn"));
        Assert.Equal([2f, 4], block.Forward(Vector(1, 2)).ToArray());
    }

    [Fact]
    public void AClosedGateDoesNotRunTheBranch()
    {
        using var scope = new Scope();
        using var block = new ToyBlock(_ => throw new InvalidOperationException("run")) { Gate = Gate(0.5, false) };
        Assert.Equal([1f, 0], block.Forward(Vector(1, -2)).ToArray());
    }

    /// <summary>Three images, of which the second goes without the branch; each has its own draw.</summary>
    [Theory]
    [InlineData(false, new float[] { 2, 2, 1, 1, 2, 2 }, 1.75f)]
    [InlineData(true, new[] { 1 + 1 / 0.75f, 1 + 1 / 0.75f, 1, 1, 1 + 1 / 0.75f, 1 + 1 / 0.75f }, 2)]
    public void GatesPerSample(bool inverted, float[] expected, float inference)
    {
        using var scope = new Scope();
        using var block = new ToyBlock(x => x);
        double[] drawn = [0.9, 0.1, 0.3];
        int next = 0;
        var gate = new DepthGate(0.75, perSample: true, inverted);
        block.Gate = gate;
        gate.Draw(() => drawn[next++]);
        Assert.Equal(expected, block.Forward(Tensor.Full(new Shape(3, 1, 1, 2), 1)).ToArray());
        Assert.Equal(3, next);
        block.Training = false;
        Assert.All(block.Forward(Tensor.Full(new Shape(3, 1, 1, 2), 1)).ToArray(), y => Assert.Equal(inference, y));
    }

    [Fact]
    public void InvertedScalingDividesInTraining()
    {
        using var scope = new Scope();
        using var block = new ToyBlock(x => x);
        var gate = new DepthGate(0.8, inverted: true);
        block.Gate = gate;
        Assert.Equal(2.25f, block.Forward(Vector(1)).Item());
        block.Training = false;
        Assert.Equal(2, block.Forward(Vector(1)).Item());
        Assert.Equal(1, gate.Factor);
        Assert.Equal(0.8f, new DepthGate(0.8).Factor);
    }

    /// <summary>The first block of a stage takes every second pixel and pads channels, whether its branch runs or not.</summary>
    [Fact]
    public void AClosedTransitionBlockStillChangesTheShape()
    {
        using var scope = new Scope();
        var rng = new Rng(1);
        using var block = new CifarBlock(2, 4, 2, ref rng) { Gate = Gate(0.5, false) };
        Tensor x = new(new Shape(1, 2, 2, 2));
        for (int i = 0; i < 8; i++) x.Span[i] = i + 1;
        Tensor y = block.Forward(x);
        Assert.Equal(new Shape(1, 4, 1, 1), y.Shape);
        Assert.Equal([0f, 1, 5, 0], y.ToArray());
    }

    private static DepthGate Gate(double survival, bool open)
    {
        var gate = new DepthGate(survival);
        gate.Draw(() => open ? 0.9999 : 0);
        return gate;
    }

    private static Tensor Vector(params float[] values) => Tensor.From(new Shape(1, values.Length, 1, 1), values);

    private sealed class ToyBlock(Func<Tensor, Tensor> branch, bool relu = true) : ResidualBlock
    {
        public override bool HasIdentityShortcut => true;

        public override Tensor Branch(Tensor x) => branch(x);

        public override Tensor Shortcut(Tensor x) => x;

        protected override Tensor Activate(Tensor sum) => relu ? base.Activate(sum) : sum;
    }
}

public sealed class SurvivalTests
{
    [Theory]
    [InlineData("Linear", new[] { 0.8333333, 0.6666667, 0.5 })]
    [InlineData("Linear", new[] { 0.875, 0.75, 0.625, 0.5 })]
    [InlineData("Ramp", new[] { 1, 0.8333333, 0.6666667, 0.5 })]
    [InlineData("Uniform", new[] { 0.5, 0.5 })]
    [InlineData("Ramp", new[] { 1.0 })]
    public void ProbabilitiesByPlace(string rule, double[] expected)
    {
        double[] actual = SurvivalRules.Of(Enum.Parse<SurvivalRule>(rule), expected.Length, 0.5);
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-7);
    }

    [Fact]
    public void The54BlocksOfThePaper()
    {
        double[] p = SurvivalRules.Of(SurvivalRule.Linear, 54, 0.5);
        Assert.Equal(0.9907407, p[0], 1e-7);
        Assert.Equal(0.5, p[^1]);
        Assert.Equal(40.25, p.Sum(), 1e-12);
        Assert.Equal((3 * 54 - 1) / 4.0, p.Sum(), 1e-12);
        Assert.Equal(0.254630, 1 - p.Sum() / 54, 1e-6);
        Assert.Equal(9.1242284, p.Sum(x => x * (1 - x)), 1e-7);
        Assert.Equal(3.0206, Math.Sqrt(p.Sum(x => x * (1 - x))), 1e-4);
        Assert.Equal(4.4964e-8, p.Aggregate(1.0, (product, x) => product * x), 1e-12);
    }
}
