using Espalier.Compression;
using Espalier.Compression.Methods.Slimming;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tests.Compression.Structure;
using Espalier.Tests.Training;

namespace Espalier.Tests.Compression.Methods;

/// <summary>What Network Slimming leaves of the networks that its paper prunes.</summary>
public sealed class SlimmedNetworksTests
{
    /// <summary>Every channel of every batch norm is in the pool once, also where a stream stays whole behind it.</summary>
    [Theory]
    [InlineData("cifar-vgg19", 5504, 16)]
    [InlineData("preresnet164", 12112, 3 * 54 + 1)]
    [InlineData("densenet40", 9360, 39)]
    public void ThePoolHoldsAllScales(string network, int channels, int norms)
    {
        using Cnn net = CnnPresets.Create(CnnPresets.Get(network) with { ImageSize = 16 });
        using DependencyGraph graph = ModuleGraphs.Build(net, net.Forward, Tensor.Zeros(new Shape(1, 3, 16, 16)));
        ChannelScores scores = ScaleScores.Of(graph, new SelectionOptions { Ratio = 0.7 }.Candidates(graph));
        Assert.Equal((channels, norms), (scores.Groups.Keys.Sum(g => g.Count), scores.Groups.Count));
        if (network != "cifar-vgg19") return;
        // 70 %: index 3,852 in rising order.
        var rising = new ChannelScores();
        int next = 0;
        foreach (ChannelGroup g in scores.Groups.Keys) rising.Set(g, [.. Enumerable.Range(0, g.Count).Select(_ => (double)next++)]);
        Assert.Equal(3852, new SelectionOptions { Ratio = 0.7, Global = true }.ByThreshold(rising).Threshold);
    }

    /// <summary>A list behind a norm of the stream: the norm, the stem and the block's output stay, the first convolution's inputs
    /// go.</summary>
    [Fact]
    public void APreActivationBlockLosesInputsOnly()
    {
        using Cnn net = CompressionJobs.Net("preresnet20");
        Dictionary<string, Tensor> state = net.StateDict().ToDictionary(s => s.Name, s => s.Value);
        // As in "pre-pruning": scale and shift of what goes are zero in the big network.
        foreach (string part in (string[])["weight", "bias"])
            foreach (int k in (int[])[1, 4]) state[$"layer1.1.bn1.{part}"].Span[k] = 0;
        CompressionJob job = CompressionJobs.Job(net, new CompressionOptions());
        using var scope = new Scope();
        Tensor images = job.Example(4);
        Dictionary<string, Shape> before = state.ToDictionary(s => s.Key, s => s.Value.Shape);
        net.Training = false;
        float[] logits = net.Forward(images).ToArray();
        using DependencyGraph graph = job.Graph();
        ChannelScores scores = ScaleScores.Of(graph, graph.Groups);
        RemovalPlan plan = job.Select(graph, scores, new SelectionOptions { Threshold = 0 });
        Assert.Equal([1, 4], plan.Channels["layer1.1.select"]);
        Assert.InRange(job.Remove(graph, plan).Difference, 0, 1e-6f);
        Assert.InRange(Removal.Difference(logits, net.Forward(images).ToArray()), 0, 1e-6f);
        Assert.Equal(["layer1.1.conv1.weight", "layer1.1.select.index"],
            state.Where(s => s.Value.Shape != before[s.Key]).Select(s => s.Key).Order());
        Assert.Equal([0, 2, 3], state["layer1.1.select.index"].ToArray().Take(3));
        Assert.Equal(before["layer1.1.conv1.weight"][1] - 2, state["layer1.1.conv1.weight"].Shape[1]);
    }

    [Fact]
    public void ADenseNetsConcatsKeepTheirWidths()
    {
        using Cnn net = CompressionJobs.Net("densenet40");
        CompressionJob job = CompressionJobs.Job(net, new NetworkSlimming { Ratio = 0.5 });
        Dictionary<string, Shape> before = net.StateDict().ToDictionary(s => s.Name, s => s.Value.Shape);
        job.Run();
        int removed = 0;
        foreach (var (name, tensor) in net.StateDict())
        {
            Shape was = before[name];
            // Of convolutions and the last layer only inputs go, of norms nothing: so no concat has another width.
            int axis = name.EndsWith(".index", StringComparison.Ordinal) ? 0 : 1;
            if (tensor.Shape != was) Assert.Equal(was.With(axis, tensor.Shape[axis]), tensor.Shape);
            if (axis == 0) removed += was[0] - tensor.Shape[0];
        }
        Assert.InRange(removed, 1, job.LastPlan!.Count);
        Assert.Equal(job.LastPlan.Count, removed);
        Assert.InRange(Assert.Single(job.Removals).Difference, 0, 1e-4f);
    }

    /// <summary>
    /// A convolution of four groups before one of six: what goes together are lcm(4, 6) channels, so that either divides into its
    /// groups afterwards.
    /// </summary>
    [Fact]
    public void GroupedConvolutionsLoseCommonMultiples()
    {
        using var net = new GroupedNet();
        using var scope = new Scope();
        Tensor x = ToyNet.Images(1, 2);
        using DependencyGraph graph = ModuleGraphs.Build(net, net.Forward, x);
        ChannelGroup group = graph["first"];
        Assert.Equal(48 / 12, group.Count);
        Assert.All(group.Of(ChannelRole.Producer).Single().Entries, e => Assert.Equal(12, e.Length));
        int smallest = Enumerable.Range(0, group.Count).MinBy(k => ScaleScores.Of(graph, [group]).Groups[group][k]);
        RemovalPlan plan = ChannelSelector.Choose(graph, ScaleScores.Of(graph, [group]), new SelectionOptions { Ratio = 0.25 });
        Assert.Equal([smallest], plan.Channels["first"]);
        Assert.InRange(Removal.Apply(graph, plan, new RemovalOptions(MoveConstants: false)).Difference, 0, 1e-5f);
        Assert.Equal(36, net.StateDict().First().Value.Shape[0]);
    }

    [Fact]
    public void ScalesMayBeginAtHalf()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        CompressionJob job = CompressionJobs.Job(net, new NetworkSlimming { Ratio = 0.5, InitialScale = 0.5 });
        job.Run();
        Assert.All(net.Descendants<BatchNorm2d>(), norm => Assert.All(norm.Weight.ToArray(), g => Assert.Equal(0.5f, g)));
    }

    [Fact]
    public void SaysWhatReallyWent()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        foreach (BatchNorm2d norm in net.Descendants<BatchNorm2d>()) norm.Weight.Fill(0.5f);
        var log = new ProgressLog();
        var job = new CompressionJob(Model.FromModule(net), CompressionJobs.Data(net.ImageSize), new NetworkSlimming
        {
            Ratio = 0.3, Training = new() { BatchSize = 16, DataThreads = 0 },
        }, log);
        int all = net.Descendants<BatchNorm2d>().Sum(n => n.Weight.Shape[0]);
        job.Run();
        // All equal the threshold: only what a layer must keep is left.
        string line = Assert.Single(log.Messages, l => l.Contains("scales"));
        Assert.StartsWith($"{job.LastPlan!.Count} of {all} scales, ", line);
        Assert.Contains("where 30.0% were asked for", line);
        Assert.True(job.LastPlan.Count > 0.9 * all);
        Assert.Matches("before fine-tuning: [0-9.]+%$", line);
    }

    private sealed class GroupedNet : Module
    {
        private readonly Conv2d first, second;
        private readonly BatchNorm2d norm;
        private readonly Linear head;

        public GroupedNet()
        {
            var rng = new Rng(5);
            first = Child("first", new Conv2d(3 * 8, 48, 3, ref rng, padding: 1, groups: 4, bias: false));
            norm = Child("norm", new BatchNorm2d(48));
            second = Child("second", new Conv2d(48, 12, 1, ref rng, groups: 6));
            head = Child("head", new Linear(12, 4, ref rng));
            Init.Uniform(norm.Weight, 0.5f, 1.5f, ref rng);
            Init.Uniform(norm.Bias, -0.5f, 0.5f, ref rng);
        }

        public Tensor Forward(Tensor x)
        {
            x = F.Concat(1, x, x, x, x, x, x, x, x);
            return head.Forward(F.GlobalAvgPool2d(second.Forward(F.Relu(norm.Forward(first.Forward(x))))));
        }
    }
}
