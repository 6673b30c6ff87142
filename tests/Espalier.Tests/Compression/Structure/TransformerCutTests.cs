using Espalier.Compression;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Structure;

/// <summary>What can be cut from a transformer's graph, by each view of its heads: the smaller one gives what the masked one gives.
/// </summary>
public sealed class TransformerCutTests : IDisposable
{
    private const float Rounding = 2e-5f;
    private const string Block = "transformer.encoder.layer.0.";

    private static readonly VitConfig Config = new()
    {
        ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 12, MlpDim = 20, NumHeads = 3, NumLayers = 2, NumClasses = 4,
    };

    private readonly VisionTransformer vit = new(Config);
    private readonly Tensor images = Tensor.Unscoped(new Shape(3, 1, 8, 8));
    private readonly Graph network;

    public TransformerCutTests()
    {
        var rng = new Rng(1);
        foreach (Tensor p in vit.Parameters().Where(p => p.Rank == 1 || p.Shape[0] == 4)) Init.Normal(p, 0.3f, ref rng);
        Init.Normal(images, 1, ref rng);
        network = vit.Trace();
    }

    public void Dispose()
    {
        vit.Dispose();
        images.Dispose();
    }

    [Fact]
    public void Stream_channels_under_layer_norms()
    {
        using var graph = DependencyGraph.Build(network, images);
        ChannelGroup stream = graph.Groups[0];
        Assert.True(stream.IsStream);
        RemovalReport report = Apply(graph, new RemovalPlan().Add(stream, 0, 5, 6, 11));
        Assert.Equal(new Shape(1, 5, 8), network["transformer.embeddings.position_embeddings"].Shape);
        Assert.All(network.Nodes.Where(n => n.Op is LayerNormOp), n => Assert.Equal(12, ((LayerNormOp)n.Op).TrainedWidth));
        Assert.InRange(report.Difference, 0, Rounding);
    }

    [Fact]
    public void Heads_and_hidden_units()
    {
        using var graph = DependencyGraph.Build(network, images);
        RemovalReport report = Apply(graph, new RemovalPlan().Add(graph[Block + "attn.query"], 1).Add(graph[Block + "ffn.fc1"], 3, 4, 19));
        Assert.Equal(HeadLayout.Uniform(2, 4), Heads());
        Assert.InRange(report.Difference, 0, Rounding);
    }

    [Fact]
    public void An_index_inside_all_heads()
    {
        using var graph = DependencyGraph.Build(network, images, HeadView.AllHeads);
        Assert.Equal(4, graph[Block + "attn.query"].Count);
        Assert.Equal(4, graph[Block + "attn.value"].Count);
        RemovalReport report = Apply(graph,
            new RemovalPlan().Add(graph[Block + "attn.query"], 2).Add(graph[Block + "attn.value"], 0, 3));
        Assert.Equal(HeadLayout.Uniform(3, 3, 2), Heads());
        Assert.InRange(report.Difference, 0, Rounding);
    }

    [Fact]
    public void An_index_inside_one_head()
    {
        using var graph = DependencyGraph.Build(network, images, HeadView.EachHead);
        Assert.Equal(12, graph[Block + "attn.query"].Count);
        // Of head 0 one query column; of head 1 all, values too; of head 2 three values.
        RemovalReport report = Apply(graph,
            new RemovalPlan().Add(graph[Block + "attn.query"], 1, 4, 5, 6, 7).Add(graph[Block + "attn.value"], 4, 5, 6, 7, 8, 9, 11));
        Assert.Equal(new HeadLayout([3, 4], [4, 1]), Heads());
        Assert.InRange(report.Difference, 0, Rounding);
        // What is left goes on: another view of the smaller network.
        using var again = DependencyGraph.Build(network, images);
        Assert.Equal(0, Removal.Apply(again, new RemovalPlan().Add(again[Block + "ffn.fc1"], 0),
            new RemovalOptions(MoveConstants: false)).Difference, Rounding);
    }

    /// <summary>Whole heads, indices inside the others and hidden units in one plan.</summary>
    [Fact]
    public void Two_views_in_one_plan()
    {
        using var graph = DependencyGraph.Build(network, images, HeadView.Heads, HeadView.AllHeads);
        Assert.Equal((3, ChannelKind.Heads), (graph[Block + "attn.query"].Count, graph[Block + "attn.query"].Kind));
        ChannelGroup query = graph[Block + "attn.query inside heads"], value = graph[Block + "attn.value inside heads"];
        Assert.Equal((4, ChannelKind.QueryKey), (query.Count, query.Kind));
        Assert.Equal((4, ChannelKind.Value), (value.Count, value.Kind));
        Assert.Equal(ChannelKind.Hidden, graph[Block + "ffn.fc1"].Kind);
        Assert.Equal(8, graph.Groups.Count - 1);
        Assert.Equal(network.CostPerImage.MultiplyAdds, graph.MultiplyAdds());
        RemovalPlan plan = new RemovalPlan().Add(graph[Block + "attn.query"], 1).Add(query, 2).Add(value, 0, 3).Add(graph[Block + "ffn.fc1"], 5);
        long cost = graph.MultiplyAdds(plan);
        RemovalReport report = Apply(graph, plan);
        Assert.Equal(HeadLayout.Uniform(2, 3, 2), Heads());
        Assert.InRange(report.Difference, 0, Rounding);
        Assert.Equal(cost, network.CostPerImage.MultiplyAdds);
        Assert.Equal([HeadView.Heads, HeadView.EachHead], new SelectionOptions { Groups = ChannelKind.Heads | ChannelKind.Value,
            UnequalHeads = true }.Views);
        Assert.Equal([HeadView.AllHeads], new SelectionOptions { Groups = ChannelKind.QueryKey }.Views);
    }

    [Fact]
    public void What_does_not_fit_leaves_everything_as_it_was()
    {
        float[] before = Logits();
        using var graph = DependencyGraph.Build(network, images, HeadView.EachHead);
        // All queries of a head, but not its values.
        foreach (string block in new[] { Block, "transformer.encoder.layer.1." })
        {
            var error = Assert.Throws<EspalierException>(
                () => Apply(graph, new RemovalPlan().Add(graph[block + "attn.query"], 0, 1, 2, 3)));
            Assert.Contains("head 0", error.Message, StringComparison.Ordinal);
        }
        Assert.Equal(before, Logits());
        using (Removal.Try(graph, new RemovalPlan().Add(graph[Block + "attn.query"], 0))) Assert.NotEqual(before, Logits());
        Assert.Equal(before, Logits());
    }

    /// <summary>Of a head that counts for nothing one index stays of queries and keys, since its values stay.</summary>
    [Theory]
    [InlineData(ChannelKind.QueryKey)]
    [InlineData(ChannelKind.Value)]
    public void No_head_is_emptied_on_one_side(ChannelKind kind)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        TransformerBlock block = TransformerBlocks.Of(model.Graph).Blocks[0];
        int width = block.Heads.QueryWidthOf(0);
        foreach (GraphNode layer in new[] { block.Query, block.Key, block.Value })
            layer.Operands[1]!.Tensor.Span[..(width * layer.Operands[1]!.Shape[1])].Clear();
        CompressionJobs.Job(model, CompressionMethods.Get("l1") with
        {
            Selection = new SelectionOptions { Groups = kind, UnequalHeads = true, Ratio = 0.5 },
        }).Run();
        HeadLayout heads = TransformerBlocks.Of(model.Graph).Blocks[0].Heads;
        Assert.Equal(1, kind == ChannelKind.QueryKey ? heads.QueryWidthOf(0) : heads.ValueWidthOf(0));
    }

    [Fact]
    public void Costs_follow_by_arithmetic()
    {
        foreach (HeadView view in Enum.GetValues<HeadView>())
        {
            using var graph = DependencyGraph.Build(network, images, view);
            Assert.Equal(network.CostPerImage.MultiplyAdds, graph.MultiplyAdds());
            RemovalPlan plan = new RemovalPlan().Add(graph[Block + "attn.query"], 0);
            long expected = graph.MultiplyAdds(plan);
            using (Removal.Try(graph, plan)) Assert.Equal(expected, network.CostPerImage.MultiplyAdds);
        }
    }

    private static RemovalReport Apply(DependencyGraph graph, RemovalPlan plan) =>
        Removal.Apply(graph, plan, new RemovalOptions(MoveConstants: false));

    private HeadLayout Heads() => ((AttentionOp)network.Nodes.First(n => n.Op is AttentionOp).Op).Heads;

    private float[] Logits()
    {
        using var scope = new Scope();
        return network.Run(images).ToArray();
    }
}
