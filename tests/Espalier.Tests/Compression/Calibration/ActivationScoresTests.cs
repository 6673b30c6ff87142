using Espalier.Compression;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Calibration;

public sealed class ActivationScoresTests
{
    private readonly RecoveryGolden golden = new("network");

    /// <summary>The network of the goldens with a channel that another one gives, and one that is constant.</summary>
    private Graph Network(out DependencyGraph graph, out Tensor images)
    {
        Tensor w1 = golden.Tensor("w1", 6, 2, 3, 3), b1 = golden.Tensor("b1", 6), w2 = golden.Tensor("w2", 4, 6, 3, 3), w3 = golden.Tensor("w3", 3, 100);
        w1.Span.Slice(2 * 18, 18).CopyTo(w1.Span[(5 * 18)..]);
        b1.Span[5] = b1.Span[2];
        w1.Span.Slice(4 * 18, 18).Clear();
        b1.Span[4] = 0.7f;
        images = golden.Tensor("images", 24, 2, 5, 5);
        Graph network = Graph.Trace(x =>
        {
            x = F.Relu(F.Conv2d(F.Relu(F.Conv2d(x, w1, b1, padding: 1)), w2, padding: 1));
            return F.Linear(F.Reshape(x, x.Shape[0], -1), w3);
        }, new Shape(1, 2, 5, 5), [("conv1.weight", w1), ("conv1.bias", b1), ("conv2.weight", w2), ("fc.weight", w3)]);
        graph = DependencyGraph.Build(network, images);
        return network;
    }

    [Fact]
    public void Variance_is_that_of_what_is_read()
    {
        Graph network = Network(out DependencyGraph graph, out Tensor images);
        ChannelScores scores = ActivationScores.Variance(graph, graph.Groups, [images]);
        Moments read = ActivationMoments.Of(network, [MomentSource.OutputOf(network.Nodes[1])], [images]).Single().Moments;
        for (int c = 0; c < 6; c++) Assert.Equal(read.Covariance()[c * 7], scores.Groups[graph["conv1"]][c], 1e-9);
        Assert.Equal(0, scores.Groups[graph["conv1"]][4], 1e-12);
        // conv2's channels are read by 25 columns each.
        Assert.All(scores.Groups[graph["conv2"]], v => Assert.True(v > 0));
        graph.Dispose();
        images.Dispose();
    }

    [Fact]
    public void What_others_can_give_costs_nothing()
    {
        Network(out DependencyGraph graph, out Tensor images);
        double[] scores = ActivationScores.OutputError(graph, graph.Groups, [images]).Groups[graph["conv1"]];
        int[] order = [.. Enumerable.Range(0, 6).OrderBy(c => scores[c])];
        // The constant one, and one of the two that are the same, which the ridge leaves a little.
        Assert.Equal(0, scores[4]);
        Assert.True(order[..2].Contains(2) ^ order[..2].Contains(5));
        Assert.True(scores[order[1]] < scores[order[2]] / 3, string.Join(" ", scores));
        // The smaller network that this order makes can be brought back nearly whole.
        RemovalPlan plan = new RemovalPlan().Add(graph["conv1"], order[..2]), other = new RemovalPlan().Add(graph["conv1"], order[^2..]);
        using RecoveredWeights fitted = Recovery.Fit(graph, plan, [images], new RecoverOptions { Alpha = 1e-4 });
        using RecoveredWeights worse = Recovery.Fit(graph, other, [images], new RecoverOptions { Alpha = 1e-4 });
        Assert.True(fitted.Layers[0].After < worse.Layers[0].After / 3);
        graph.Dispose();
        images.Dispose();
    }

    [Fact]
    public void Heads_and_hidden_units_of_a_transformer()
    {
        using var vit = new VisionTransformer(new VitConfig
        {
            ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 12, MlpDim = 20, NumHeads = 3, NumLayers = 2, NumClasses = 4,
        });
        var rng = new Rng(1);
        foreach (Tensor p in vit.Parameters()) Init.Normal(p, 0.3f, ref rng);
        using Tensor images = Tensor.Unscoped(new Shape(32, 1, 8, 8));
        Init.Normal(images, 1, ref rng);
        Graph network = vit.Trace();
        const string block = "transformer.encoder.layer.0.";
        // Nobody looks at what unit 7 and head 1 give.
        Tensor fc2 = network.Weights[block + "ffn.fc2.weight"].Tensor, output = network.Weights[block + "attn.out.weight"].Tensor;
        for (int row = 0; row < 12; row++)
        {
            fc2.Span[row * 20 + 7] = 0;
            output.Span.Slice(row * 12 + 4, 4).Clear();
        }
        using DependencyGraph graph = DependencyGraph.Build(network, images);
        ChannelGroup[] groups = [graph[block + "attn.query"], graph[block + "ffn.fc1"]];
        ChannelScores scores = ActivationScores.OutputError(graph, groups, [images]);
        double[] heads = scores.Groups[groups[0]], units = scores.Groups[groups[1]];
        Assert.Equal((0.0, 0.0), (heads[1], units[7]));
        Assert.True(heads[0] > 0.01 && heads[2] > 0.01);
        Assert.Equal(1, units.Count(u => u == 0));
        // Variance says nothing about weights.
        Assert.True(ActivationScores.Variance(graph, groups, [images]).Groups[groups[1]][7] > 0);
    }
}
