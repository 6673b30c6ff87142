using Espalier.Compression;
using Espalier.Compression.Methods.Slimming;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class NetworkSlimmingTests
{
    [Theory]
    [InlineData("cifar-vgg11", 16, null, 1)]
    [InlineData("resnet20", 16, 0.4, 2)]
    [InlineData("preresnet20", 16, 0.4, 2)]
    [InlineData("densenet40", 16, 0.4, 1)]
    [InlineData("densenet121", 32, 0.3, 1)]
    [InlineData("mobilenet_v2", 32, null, 1)]
    public void MakesNetworksSmaller(string network, int size, double? ratio, int rounds)
    {
        using Cnn net = CompressionJobs.Net(network, size);
        CompressionJob job = CompressionJobs.Job(net, new NetworkSlimming
        {
            Selection = ratio is null ? new() { TargetFlops = 0.6 } : new() { Ratio = ratio }, Rounds = rounds, TrainSteps = 2,
            FineTuneSteps = 2,
        });
        long before = net.ParameterCount;
        job.Run();
        Assert.Equal(rounds, job.Removals.Count);
        Assert.True(net.ParameterCount < 0.95 * before, $"{before} -> {net.ParameterCount} parameters");
        Assert.All(job.Removals, r => Assert.True(r.Difference < 1e-4f, $"differs by {r.Difference}"));
    }

    [Fact]
    public void KeepsScalesAboveTheThreshold()
    {
        double[] gammas = [0.9, 0.1, 0.5, 0.05, 0.3, 0.7, 0.2, 0.6, 0.4];
        var scores = new ChannelScores().Set(Group(9), gammas);
        SelectionOptions selection = new SelectionOptions { Ratio = 0.5, Global = true }.ByThreshold(scores);
        Assert.Equal(0.4, selection.Threshold);
        Assert.Equal([0.9, 0.5, 0.7, 0.6], gammas.Where(g => g > selection.Threshold));
    }

    [Fact]
    public void WhereAllScalesAreEqualEachLayerKeepsItsLeast()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        foreach (var (name, tensor) in net.NamedParameters())
            if (tensor.Rank == 1 && name.EndsWith("weight", StringComparison.Ordinal)) tensor.Fill(0.5f);
        CompressionJob job = CompressionJobs.Job(net, new NetworkSlimming { Ratio = 0.5 });
        using DependencyGraph graph = job.Graph();
        job.Run();
        Dictionary<string, Tensor> left = net.StateDict().ToDictionary(p => p.Name, p => p.Value);
        Assert.All(graph.Groups,
            g => Assert.Equal(Math.Max(2, (int)Math.Ceiling(0.05 * g.Count)), left[g.Slices[0].Name].Shape[0]));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void TheHookAddsThePenaltyOnceAStep(int microBatches)
    {
        Tensor gamma = Tensor.Parameter(new Shape(3));
        new[] { 0.5f, 0, -0.5f }.CopyTo(gamma.Span);
        using var sgd = new Sgd([new ParameterGroup("all", [("gamma", gamma)])], weightDecay: 1e-4f);
        var hook = new L1Penalty([gamma], 1e-4f, "Lambda");
        for (int part = 0; part < microBatches; part++)
        {
            var context = new StepContext(1, 1, 0, part, microBatches, new Rng(1));
            using var scope = new Scope();
            using var recording = new Recording();
            recording.Backward(F.Sum(F.Mul(gamma, Tensor.From(new Shape(3), [0.02f, 0, 0.02f]))), context.GradientScale);
            hook.AfterBackward(context);
        }
        sgd.Step(0.1f);
        Assert.Equal(0.497985f, gamma.Span[0], 1e-6f);
        Assert.Equal(0f, gamma.Span[1]);
        Assert.Equal(-0.501985f, gamma.Span[2], 1e-6f);                             // -0.5 - 0.1 (0.02 - 1e-4 - 5e-5)
    }

    [Fact]
    public void AToyVggShrinksFrom284To151Parameters()
    {
        var rng = new Rng(3);
        Sequential net = new Sequential().Conv(3, 2, 3, ref rng).BatchNorm(2).Add(x => F.Relu(x)).Add(x => F.MaxPool2d(x, 2))
            .Conv(2, 3, 3, ref rng).BatchNorm(3).Add(x => F.Relu(x)).Add(x => F.MaxPool2d(x, 2))
            .Conv(3, 4, 3, ref rng).BatchNorm(4).Add(x => F.Relu(x)).Add(x => F.GlobalAvgPool2d(x)).Linear(4, 10, ref rng);
        var state = net.StateDict().ToDictionary(p => p.Name, p => p.Value);
        new[] { 0.9f, -0.1f }.CopyTo(state["1.weight"].Span);
        new[] { 0.5f, 0.05f, -0.8f }.CopyTo(state["5.weight"].Span);
        new[] { 0.3f, 0.7f, -0.02f, 0.6f }.CopyTo(state["9.weight"].Span);
        foreach (string layer in (string[])["1", "5", "9"]) state[$"{layer}.bias"].Fill(0.3f);
        Assert.Equal(284, net.ParameterCount);
        using Tensor example = Tensor.Unscoped(new Shape(2, 3, 8, 8));
        Init.Uniform(example, -1, 1, ref rng);
        using DependencyGraph graph = ModuleGraphs.Build(net, net.Forward, example);
        ChannelScores scores = ScaleScores.Of(graph, graph.Groups);
        SelectionOptions selection = new SelectionOptions { Ratio = 0.3, Global = true, MinKept = 1 }.ByThreshold(scores);
        RemovalPlan plan = ChannelSelector.Choose(graph, scores, selection);
        Assert.Equal([1, 1, 2], graph.Groups.Select(g => plan.Channels[g.Name].Single()));
        Assert.True(Removal.Apply(graph, plan, new RemovalOptions(MoveConstants: false)).Difference < 1e-6f);
        Assert.Equal(151, net.ParameterCount);
    }

    private static ChannelGroup Group(int channels) => new("layer", 0,
        [new GroupSlice("layer.weight", Tensor.Zeros(new Shape(channels, 1)), 0, ChannelRole.Producer,
            [.. Enumerable.Range(0, channels).Select(k => (int[])[k])])], ChannelKind.Channels, null);
}
