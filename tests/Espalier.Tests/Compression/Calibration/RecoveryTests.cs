using Espalier.Compression;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tests.Compression.Structure;
using static Espalier.Tests.Compression.Calibration.RecoveryGolden;

namespace Espalier.Tests.Compression.Calibration;

public sealed class RecoveryTests
{
    private const float Rounding = 1e-4f;

    private readonly RecoveryGolden golden = new("network");

    /// <summary>Two convolutions and a linear layer on a flattened map, each fitted to inputs that have changed, as numpy does it.</summary>
    [Theory]
    [InlineData(true, "")]
    [InlineData(false, "parallelFc")]
    public void A_small_network_layer_after_layer(bool sequential, string parallel)
    {
        Graph network = Network();
        using Tensor images = golden.Tensor("images", 24, 2, 5, 5);
        using var graph = DependencyGraph.Build(network, images);
        RemovalPlan plan = Plan(graph);
        using RecoveredWeights fitted = Fit(graph, plan, images, new RecoverOptions { Sequential = sequential, Alpha = 0.01 });
        RemovalReport report = Removal.Apply(graph, plan, new RemovalOptions(Recovered: fitted));
        Assert.InRange(report.Difference, 0, Rounding);
        Assert.Equal(new Shape(3, 4, 3, 3), network.Weights["conv2.weight"].Shape);
        Close(golden["conv2"], Values(network, "conv2.weight"), 1e-3);
        Close(golden["conv2Bias"], Values(network, "conv2.bias"), 1e-3);
        Close(golden[sequential ? "fc" : parallel], Values(network, "fc.weight"), 1e-3);
        Close(golden[sequential ? "fcBias" : parallel + "Bias"], Values(network, "fc.bias"), 1e-3);
        Assert.Equal(["conv2", "fc"], fitted.Layers.Select(l => l.Layer));
        Assert.All(fitted.Layers, l => Assert.True(l.After < l.Before && l.Alpha == 0.01));
        Assert.Equal((6, 4), (fitted.Layers[0].Read, fitted.Layers[0].Kept));
        Assert.Equal(24, fitted.Images);
    }

    [Fact]
    public void Wide_windows_are_fitted_channel_by_channel()
    {
        Graph network = Network();
        using Tensor images = golden.Tensor("images", 24, 2, 5, 5);
        using var graph = DependencyGraph.Build(network, images);
        RemovalPlan plan = Plan(graph);
        using RecoveredWeights fitted = Fit(graph, plan, images, new RecoverOptions { Alpha = 0.01, MostWindowValues = 9 });
        float difference = Removal.Apply(graph, plan, new RemovalOptions(Recovered: fitted)).Difference;
        Assert.InRange(difference, 0, Rounding);
        Close(golden["channelsConv2"], Values(network, "conv2.weight"), 1e-3);
    }

    /// <summary>A channel that is twice another and 1: put into weights and bias, the 1 is right inside and wrong where taps stand on zero
    /// padding, three of them at edges and five in corners. That is why channels are fitted without an intercept.</summary>
    [Fact]
    public void An_intercept_is_wrong_at_borders()
    {
        using Tensor h = Images(1, 1, 5);
        using var scope = new Scope();
        Tensor ones = Tensor.Full(new Shape(1, 2, 3, 3), 1), folded = Tensor.Full(new Shape(1, 1, 3, 3), 1 + 2);
        Tensor both = F.Concat(1, h, F.Affine(h, 2, 1));
        float[] expected = F.Conv2d(both, ones, padding: 1).ToArray(),
            actual = F.Conv2d(h, folded, Tensor.Full(new Shape(1), 9), padding: 1).ToArray();
        for (int i = 0; i < 25; i++)
        {
            int borders = (i / 5 is 0 or 4 ? 1 : 0) + (i % 5 is 0 or 4 ? 1 : 0);
            Assert.Equal(borders switch { 0 => 0, 1 => 3, _ => 5 }, actual[i] - expected[i], 1e-4);
        }
    }

    /// <summary>Two channels, the second twice the first: without an intercept that is exact, borders and all.</summary>
    [Fact]
    public void Channels_are_fitted_without_an_intercept()
    {
        using Tensor w1 = RecoveryGolden.Rows([1, 2], 1).View(new Shape(2, 1, 1, 1)), w2 = Tensor.Unscoped(new Shape(1, 2, 3, 3)),
            b2 = Tensor.Unscoped(new Shape(1)), images = Tensor.Unscoped(new Shape(8, 1, 5, 5));
        var rng = new Rng(3);
        Init.Normal(images, 1, ref rng);
        w2.Fill(1);
        b2.Fill(0);
        Graph network = Graph.Trace(x => F.Conv2d(F.Conv2d(x, w1), w2, b2, padding: 1), new Shape(1, 1, 5, 5),
            [("c1.weight", w1), ("c2.weight", w2), ("c2.bias", b2)]);
        float[] before = Output(network, images);
        using var graph = DependencyGraph.Build(network, images);
        RemovalPlan plan = new RemovalPlan().Add(graph["c1"], 1);
        using RecoveredWeights fitted = Fit(graph, plan, images, new RecoverOptions { Alpha = 0, MostWindowValues = 1 });
        Removal.Apply(graph, plan, new RemovalOptions(Recovered: fitted));
        Assert.InRange(Removal.Difference(before, Output(network, images)), 0, 1e-4f);
    }

    /// <summary>Channels that are sums of others can be spared: the smaller network gives what the whole one gave, on images that
    /// nothing was fitted to, through norms, residual sums, gates, grouped and depthwise convolutions.</summary>
    [Fact]
    public void What_is_redundant_costs_nothing()
    {
        using var net = new ToyNet(5);
        // conv1's channel 4 repeats channel 1, and so do its norm and what follows.
        foreach (var (name, t) in net.StateDict())
        {
            if (t.Rank == 0 || (!name.StartsWith("block.conv1", StringComparison.Ordinal) && !name.StartsWith("block.bn1", StringComparison.Ordinal)))
                continue;
            int below = (int)(t.Length / t.Shape[0]);
            t.Span.Slice(below, below).CopyTo(t.Span[(4 * below)..]);
        }
        net.Training = false;
        using Tensor images = Images(96, 3, 6), others = Images(16, 3, 6, seed: 8);
        Graph network = Graph.Trace(net.Forward, new Shape(2, 3, 6, 6), net.StateDict());
        float[] before = Output(network, others);
        using var graph = DependencyGraph.Build(network, others);
        RemovalPlan plan = new RemovalPlan().Add(graph["block.conv1"], 4);
        float[] without;
        using (Removal.Try(graph, plan)) without = Output(network, others);
        using RecoveredWeights fitted = Fit(graph, plan, images, new RecoverOptions { Alpha = 1e-6, Sequential = true });
        Removal.Apply(graph, plan, new RemovalOptions(Recovered: fitted));
        float left = Removal.Difference(before, Output(network, others));
        Assert.True(left < 2e-3 && left < Removal.Difference(before, without) / 20, $"{left}");
    }

    /// <summary>Every group of a network with all kinds of layers: what is fitted equals the masked network, and helps.</summary>
    [Fact]
    public void Every_group_of_a_network_with_all_kinds_of_layers()
    {
        using var net = new ToyNet(5);
        net.Training = false;
        using Tensor images = Images(64, 3, 6);
        Graph network = Graph.Trace(net.Forward, new Shape(2, 3, 6, 6), net.StateDict());
        float[] before = Output(network, images);
        using var graph = DependencyGraph.Build(network, images);
        var plan = new RemovalPlan();
        foreach (ChannelGroup group in graph.Groups) plan.Add(group, 0);
        double plain;
        using (Removal.Try(graph, plan)) plain = Distance(before, Output(network, images));
        using RecoveredWeights fitted = Fit(graph, plan, images, new RecoverOptions());
        RemovalReport report = Removal.Apply(graph, plan, new RemovalOptions(Recovered: fitted));
        Assert.InRange(report.Difference, 0, Rounding);
        double after = Distance(before, Output(network, images));
        Assert.True(after < plain / 2, $"{plain} -> {after}");
        Assert.Equal(fitted.OutputError, after * after / Variance(before, 5), 1e-3);
    }

    /// <summary>Heads, value and query dimensions, hidden units and stream channels of a transformer.</summary>
    [Theory]
    [InlineData(HeadView.Heads, QueryKeyFit.Projection, true)]
    [InlineData(HeadView.AllHeads, QueryKeyFit.Projection, false)]
    [InlineData(HeadView.EachHead, QueryKeyFit.Projection, false)]
    [InlineData(HeadView.AllHeads, QueryKeyFit.Exact, false)]
    [InlineData(HeadView.AllHeads, QueryKeyFit.Pooled, false)]
    [InlineData(HeadView.AllHeads, QueryKeyFit.Slice, false)]
    public void A_transformer(HeadView view, QueryKeyFit how, bool stream)
    {
        using Tensor images = Images(96, 1, 8);
        using VisionTransformer vit = Vit();
        Graph network = vit.Trace();
        float[] before = Output(network, images);
        using var graph = DependencyGraph.Build(network, images, view);
        const string block = "transformer.encoder.layer.0.";
        RemovalPlan plan = new RemovalPlan().Add(graph[block + "attn.query"], 1).Add(graph[block + "ffn.fc1"], 0, 3, 4, 11);
        if (view != HeadView.Heads) plan.Add(graph[block + "attn.value"], 2);
        if (stream) plan.Add(graph.Groups.First(g => g.IsStream), 2, 7);
        double plain;
        using (Removal.Try(graph, plan)) plain = Distance(before, Output(network, images));
        using RecoveredWeights fitted = Fit(graph, plan, images, new RecoverOptions { QueryKeys = how });
        RemovalReport report = Removal.Apply(graph, plan, new RemovalOptions(Recovered: fitted));
        Assert.InRange(report.Difference, 0, Rounding);
        double after = Distance(before, Output(network, images));
        Assert.True(after < plain * 0.8, $"{plain} -> {after}");
        Assert.Contains(fitted.Layers, l => l.Layer == block + "attn.out");
        Assert.Contains(fitted.Layers, l => l.Layer == block + "ffn.fc2");
    }

    /// <summary>Queries and keys that a head has twice over can be spared without any loss, whichever are removed.</summary>
    [Fact]
    public void A_projection_of_queries_and_keys_loses_nothing_where_there_is_nothing_to_lose()
    {
        using Tensor images = Images(32, 1, 8);
        using VisionTransformer vit = Vit();
        Graph network = vit.Trace();
        const string block = "transformer.encoder.layer.0.attn.";
        // Of each head of four columns the last is the sum of the first two, in the keys.
        foreach (string name in new[] { "key.weight", "key.bias" })
        {
            Tensor t = network.Weights[block + name].Tensor;
            int below = (int)(t.Length / t.Shape[0]);
            for (int h = 0; h < 3; h++)
                for (int i = 0; i < below; i++)
                    t.Span[(4 * h + 3) * below + i] = t.Span[4 * h * below + i] + t.Span[(4 * h + 1) * below + i];
        }
        float[] before = Output(network, images);
        using var graph = DependencyGraph.Build(network, images, HeadView.AllHeads);
        RemovalPlan plan = new RemovalPlan().Add(graph[block + "query"], 0);
        using RecoveredWeights fitted = Fit(graph, plan, images, new RecoverOptions());
        Removal.Apply(graph, plan, new RemovalOptions(Recovered: fitted));
        Assert.InRange(Removal.Difference(before, Output(network, images)), 0, 2e-3f);
    }

    [Fact]
    public void The_mean_alone()
    {
        Graph network = Network();
        using Tensor images = golden.Tensor("images", 24, 2, 5, 5);
        float[] before = Output(network, images);
        using var graph = DependencyGraph.Build(network, images);
        RemovalPlan plan = Plan(graph);
        using RecoveredWeights fitted = Fit(graph, plan, images, new RecoverOptions { Fit = RecoverFit.Mean });
        Assert.InRange(Removal.Apply(graph, plan, new RemovalOptions(Recovered: fitted)).Difference, 0, Rounding);
        float[] after = Output(network, images);
        for (int c = 0; c < 3; c++) Assert.Equal(Enumerable.Range(0, 24).Average(i => before[i * 3 + c]),
            Enumerable.Range(0, 24).Average(i => after[i * 3 + c]), 1e-4);
        // The filters that are left are as they were.
        double[] w2 = golden["w2"];
        int[] columns = [.. ((int[])[0, 2, 4, 5]).SelectMany(c => Enumerable.Range(c * 9, 9))];
        Close([.. Enumerable.Range(1, 3).SelectMany(o => columns.Select(c => w2[o * 54 + c]))], Values(network, "conv2.weight"), 1e-6);
    }

    [Fact]
    public void Layers_without_a_bias_get_one()
    {
        using Tensor w1 = golden.Tensor("w1", 6, 2, 3, 3), w2 = golden.Tensor("w2", 4, 6, 3, 3), images = golden.Tensor("images", 24, 2, 5, 5);
        Graph network = Graph.Trace(x => F.Conv2d(F.Relu(F.Conv2d(x, w1, padding: 1)), w2, padding: 1), new Shape(1, 2, 5, 5),
            [("a.weight", w1), ("b.weight", w2)]);
        string[] names = [.. network.Nodes.Select(n => n.Name)];
        float[] before = Output(network, images);
        Recovery.AddBiases(network);
        Assert.Equal(names, network.Nodes.Select(n => n.Name));
        Assert.Equal(before, Output(network, images));
        using var graph = DependencyGraph.Build(network, images);
        RemovalPlan plan = new RemovalPlan().Add(graph["a"], 0, 1);
        using RecoveredWeights fitted = Fit(graph, plan, images, new RecoverOptions());
        Removal.Apply(graph, plan, new RemovalOptions(Recovered: fitted));
        Assert.Equal(new Shape(4), network.Weights["a.bias"].Shape);
        Assert.Contains(network.Weights["b.bias"].Tensor.ToArray(), x => x != 0);
        float[] after = Output(network, images);
        Assert.Equal(before.Average(), after.Average(), 1e-4);
    }

    [Fact]
    public void Images_that_do_not_fit_into_memory_are_left_out_and_none_is_an_error()
    {
        Graph network = Network();
        using Tensor images = golden.Tensor("images", 24, 2, 5, 5);
        using var graph = DependencyGraph.Build(network, images);
        RemovalPlan plan = Plan(graph);
        using RecoveredWeights few = Recovery.Fit(graph, plan, [images], new RecoverOptions { Memory = 20_000 });
        Assert.InRange(few.Images, 1, 12);
        Assert.Contains(few.Notes, n => n.StartsWith($"looked at {few.Images} images only", StringComparison.Ordinal));
        Assert.Throws<EspalierException>(() => Recovery.Fit(graph, plan, []));
        Assert.Throws<EspalierException>(() => Recovery.Fit(graph, plan, [images], new RecoverOptions { Alpha = -1 }));
        images.Span[7] = float.NaN;
        Assert.Throws<EspalierException>(() => Recovery.Fit(graph, plan, [images]));
        // The network is as it was.
        Assert.Equal(golden["w2"].Select(x => (float)x), network.Weights["conv2.weight"].Tensor.ToArray());
    }

    private Graph Network()
    {
        (string Name, Tensor Value)[] weights =
        [
            ("conv1.weight", golden.Tensor("w1", 6, 2, 3, 3)), ("conv1.bias", golden.Tensor("b1", 6)),
            ("conv2.weight", golden.Tensor("w2", 4, 6, 3, 3)), ("conv2.bias", golden.Tensor("b2", 4)),
            ("fc.weight", golden.Tensor("w3", 3, 100)), ("fc.bias", golden.Tensor("b3", 3)),
        ];
        Tensor W(int i) => weights[i].Value;
        return Graph.Trace(x =>
        {
            x = F.Relu(F.Conv2d(x, W(0), W(1), padding: 1));
            x = F.Relu(F.Conv2d(x, W(2), W(3), padding: 1));
            return F.Linear(F.Reshape(x, x.Shape[0], -1), W(4), W(5));
        }, new Shape(1, 2, 5, 5), weights);
    }

    private static RemovalPlan Plan(DependencyGraph graph) => new RemovalPlan().Add(graph["conv1"], 1, 3).Add(graph["conv2"], 0);

    /// <summary>With the images in four batches.</summary>
    private static RecoveredWeights Fit(DependencyGraph graph, RemovalPlan plan, Tensor images, RecoverOptions options)
    {
        using var scope = new Scope();
        int part = images.Shape[0] / 4;
        return Recovery.Fit(graph, plan, Enumerable.Range(0, 4).Select(i => F.Slice(images, 0, i * part, part)).ToArray(), options);
    }

    private static VisionTransformer Vit()
    {
        var vit = new VisionTransformer(new VitConfig
        {
            ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 12, MlpDim = 20, NumHeads = 3, NumLayers = 2, NumClasses = 4,
        });
        var rng = new Rng(1);
        foreach (Tensor p in vit.Parameters()) Init.Normal(p, p.Rank == 1 ? 0.3f : 0.4f, ref rng);
        return vit;
    }

    private static Tensor Images(int count, int channels, int size, ulong seed = 2)
    {
        Tensor images = Tensor.Unscoped(new Shape(count, channels, size, size));
        var rng = new Rng(seed);
        Init.Normal(images, 1, ref rng);
        return images;
    }

    private static IEnumerable<double> Values(Graph network, string weight) =>
        network.Weights[weight].Tensor.ToArray().Select(x => (double)x);

    private static float[] Output(Graph network, Tensor images)
    {
        using var scope = new Scope();
        return network.Run(images).ToArray();
    }

    private static double Distance(float[] a, float[] b) => Math.Sqrt(a.Zip(b, (x, y) => (double)(x - y) * (x - y)).Sum());

    private static double Variance(float[] rows, int width)
    {
        double sum = 0;
        for (int c = 0; c < width; c++)
        {
            double[] column = [.. rows.Where((_, i) => i % width == c).Select(x => (double)x)];
            double mean = column.Average();
            sum += column.Sum(x => (x - mean) * (x - mean));
        }
        return sum;
    }
}
