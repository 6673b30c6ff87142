using Espalier.Compression;
using Espalier.Models;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression.StochasticDepth;

public sealed class RandomDepthTests
{
    [Theory]
    [InlineData("resnet20")]
    [InlineData("resnet18")]
    public void ClosedGatesLeaveNoTraceInTheBranchButTheRestLearns(string network)
    {
        using Cnn net = CompressionJobs.Net(network, 32);
        using var depth = new RandomDepth(net, new RandomDepthOptions());
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
        using var depth = new RandomDepth(net, new RandomDepthOptions(FreezeSkipped: freeze));
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
        using var depth = new RandomDepth(net, new RandomDepthOptions(SurvivalRule.Uniform, 0.5));
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
        using var depth = new RandomDepth(net, new RandomDepthOptions(Last: 0.5));
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
        using var depth = new RandomDepth(net, new RandomDepthOptions(Last: 0.5));
        float[] gated = net.Forward(images).ToArray();
        Assert.True(Removal.Difference(plain, gated) > 1e-4f);
        BranchEnds.Fold(net, images, depth.Gates);
        depth.Dispose();
        Assert.InRange(Removal.Difference(gated, net.Forward(images).ToArray()), 0, 1e-6f);
    }

    /// <summary>Branches that are narrower than the stream, with constants for the channels that they lost.</summary>
    private static void LoseFilters(Cnn net)
    {
        CompressionJob job = CompressionJobs.Job(net, new CompressionOptions
        {
            Selection = new() { Ratio = 0.3, MinKept = 1 }, TrainSteps = 1,
        });
        CompressionMethods.Get("soft-filter").Run(job);
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
