using Espalier.Compression;
using Espalier.Compression.Methods.Apt;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tests.Models;

namespace Espalier.Tests.Compression.Methods;

public sealed class AptPassesTests
{
    private static readonly VitConfig Config = new()
    {
        ImageSize = 32, PatchSize = 4, Channels = 1, HiddenSize = 24, MlpDim = 40, NumHeads = 3, NumLayers = 5, NumClasses = 6,
        PruneLayers = [0, 2, 3],
    };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void One_image_keeps_the_same_tokens_alone_and_in_a_batch(bool distilled)
    {
        using Model network = NewModel(distilled);
        var model = new AptPasses(network.Graph);
        using var scope = new Scope();
        Tensor images = Images(16);
        AptOutput all = model.Pruned(images);
        Assert.True(Enumerable.Range(0, 16).Select(b => all.TokensOf(b)[^1]).Distinct().Count() > 1);
        for (int b = 0; b < 16; b++)
        {
            AptOutput one = model.Pruned(One(images, b));
            Assert.Equal(all.KeptOf(b), one.KeptOf(0));
            AssertClose(all.Logits.Span.Slice(b * 6, 6), one.Logits.Span, 1e-5f);
        }
    }

    [Fact]
    public void Removing_tokens_is_masking_them_as_keys()
    {
        using Model network = NewModel();
        var model = new AptPasses(network.Graph);
        using var scope = new Scope();
        Tensor images = Images(8);
        AptOutput removed = model.Pruned(images);
        for (int b = 0; b < 8; b++)
        {
            var (logits, kept) = MaskedVit.Run(network, Config, model.Threshold, One(images, b));
            Assert.Equal(removed.KeptOf(b).Skip(1), kept);
            AssertClose(removed.Logits.Span.Slice(b * 6, 6), logits, 1e-5f);
        }
        int[] tokens = removed.TokensOf(0);
        Assert.True(tokens[1] < tokens[0] && tokens[2] < tokens[1] && tokens[3] < tokens[2], string.Join(",", tokens));
    }

    [Fact]
    public void The_counted_cost_is_that_of_the_ops_that_ran()
    {
        using Model network = NewModel();
        var model = new AptPasses(network.Graph);
        using var scope = new Scope();
        const int images = 3;
        AptOutput output = model.Pruned(Images(images));
        long counted = 0, agents = 0;
        for (int b = 0; b < images; b++)
        {
            int[] tokens = output.TokensOf(b);
            counted += model.MultiplyAdds(tokens);
            for (int i = 0; i < 3; i++) agents += (2L * Config.HiddenSize + 1 + tokens[i]) * Config.HiddenSize;
        }
        Assert.True(agents > 0);
        // The graph as it stands computes the last block whole, as the literature counts it; what agents do is counted apart.
        Graph graph = network.Graph;
        HashSet<GraphNode> deciding = [];
        foreach (GraphNode keep in graph.Nodes.Where(n => n.Op is KeepRowsOp))
            deciding.UnionWith(graph.Between([keep.Operands[0]!], [keep.Operands[1]!]).Nodes.Select(n => graph[n.Name].Producer!));
        using var recording = new Recording(gradients: false);
        graph.Run(Images(images));
        long ran = graph.Nodes.Zip(recording.Ops).Where(p => !deciding.Contains(p.First)).Sum(p => p.Second.Cost.MultiplyAdds);
        Assert.Equal(counted - agents, ran);
    }

    [Fact]
    public void A_lower_threshold_keeps_a_subset()
    {
        using Model network = NewModel();
        var model = new AptPasses(network.Graph);
        using var scope = new Scope();
        Tensor images = Images(8);
        int[][] before = [];
        var totals = new HashSet<int>();
        foreach (float threshold in new[] { 0f, 0.2f, 0.4f, 0.5f, 0.6f, 0.8f, 1f })
        {
            model.Threshold = threshold;
            AptOutput output = model.Pruned(images);
            // Later agents see other companies of tokens, so that only the first is bound to it.
            int[][] first = [.. Enumerable.Range(0, 8).Select(b => output.KeptOf(b)[1])];
            for (int b = 0; b < before.Length; b++) Assert.Subset(first[b].ToHashSet(), before[b].ToHashSet());
            totals.Add(first.Sum(kept => kept.Length));
            before = first;
        }
        Assert.True(totals.Count > 3);
        Assert.Equal(8, totals.Min());                      // p(prune) is always greater than 0,
        Assert.Equal(8 * Config.Tokens, totals.Max());      // and never than 1
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 2)]
    public void Prefix_tokens_stay_whatever_the_agents_say(bool distilled, int prefix)
    {
        using Model network = NewModel(distilled);
        var model = new AptPasses(network.Graph);
        model.Threshold = -1;
        using var scope = new Scope();
        AptOutput output = model.Pruned(Images(4));
        for (int b = 0; b < 4; b++)
        {
            Assert.Equal([Config.Tokens - 1 + prefix, prefix, prefix, prefix], output.TokensOf(b));
            Assert.Equal(Enumerable.Range(0, prefix), output.KeptOf(b)[^1]);
        }
        Assert.All(output.Logits.ToArray(), x => Assert.True(float.IsFinite(x)));
    }

    // Values 1, 2, 3, 6 under even attention: 3, and without the last 2.
    [Theory]
    [InlineData(4, 3f)]
    [InlineData(3, 2f)]
    public void Even_attention_is_the_mean_of_the_values_left(int tokens, float expected)
    {
        using var scope = new Scope();
        float[] values = [1, 2, 3, 6];
        Tensor zero = Tensor.Zeros(new Shape(1, tokens, 1)), v = Tensor.From(zero.Shape, values.AsSpan(0, tokens));
        Tensor y = F.Attention(zero, zero, v, HeadLayout.Uniform(1, 1), 1);
        Assert.All(y.ToArray(), x => Assert.Equal(expected, x));
    }

    [Theory]
    [InlineData(new int[0])]
    [InlineData(new[] { 5 })]
    [InlineData(new[] { -1 })]
    [InlineData(new[] { 2, 2 })]
    public void Layers_that_do_not_rise_within_the_model_are_refused(int[] layers)
    {
        using Model model = Model.FromModule(new VisionTransformer(Config));
        var e = Assert.Throws<EspalierException>(() => TokenAgents.Add(model, layers));
        Assert.Contains("layers of agents must rise from 0 to at most 4", e.Message, StringComparison.Ordinal);
        Assert.Contains("no agents", Assert.Throws<EspalierException>(() => new AptPasses(model.Graph)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Taken_out_again_agents_leave_the_plain_network()
    {
        using Model model = NewModel();
        using var scope = new Scope();
        Tensor images = Images(3), plain = new AptPasses(model.Graph).Plain(images).Logits;
        Assert.NotEqual(plain.ToArray(), model.Graph.Prepared(training: false).Run(images).ToArray());
        Assert.Equal(3 * 8, TokenAgents.Remove(model.Graph).Count);
        Assert.Equal(plain.ToArray(), model.Graph.Prepared(training: false).Run(images).ToArray());
    }

    /// <summary>The parts between the agents, run one after another, are the graph with its agents.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(0.4f)]
    [InlineData(0.5f)]
    [InlineData(1)]
    public void The_passes_are_those_of_the_graph(float threshold)
    {
        using Model model = NewModel();
        model.SetKeepRule(KeepRule.AtLeast(-threshold));
        var passes = new AptPasses(model.Graph);
        Assert.Equal(threshold, passes.Threshold);
        foreach (int batch in new[] { 1, 3, 16 })
        {
            using var scope = new Scope();
            Tensor images = Images(batch);
            AptOutput expected = passes.Pruned(images);
            PrunedPass graph = PrunedPass.Run(model.Graph.Prepared(training: false), images);
            Assert.Equal(expected.Steps, graph.Steps);
            Assert.Equal(expected.Logits.ToArray(), graph.Logits.ToArray());
            var (pruned, plain) = passes.Both(images, default, recordPlain: false);
            Assert.Equal(expected.Logits.ToArray(), pruned.Logits.ToArray());
            Assert.Equal(passes.Plain(images).Logits.ToArray(), plain.Logits.ToArray());
            Tensor all = model.Graph.Prepared(training: false).Run(images, new RunContext(Keep: KeepRule.All));
            Assert.Equal(plain.Logits.ToArray(), all.ToArray());
        }
    }

    private static Model NewModel(bool distilled = false)
    {
        Model model = Model.FromModule(new VisionTransformer(Config with { Distilled = distilled }, seed: 4));
        TokenAgents.Add(model, Config.PruneLayers, seed: 5);
        var rng = new Rng(11);
        foreach (var (name, tensor) in model.Graph.Parameters)
        {
            // Distinct agents with opinions of their own, and logits that say something.
            if (name.Contains("clip_layer", StringComparison.Ordinal))
            {
                if (name.EndsWith("weight", StringComparison.Ordinal)) Init.Normal(tensor, 0.2f, ref rng);
                else tensor.Fill(0);
            }
            if (name.StartsWith("head", StringComparison.Ordinal)) Init.Normal(tensor, 0.3f, ref rng);
            if (name.EndsWith("position_embeddings", StringComparison.Ordinal)) Init.Normal(tensor, 0.5f, ref rng);
        }
        return model;
    }

    private static Tensor Images(int count)
    {
        var rng = new Rng(9);
        var x = new Tensor(new Shape(count, 1, 32, 32));
        Init.Normal(x, 1, ref rng);
        return x;
    }

    private static Tensor One(Tensor images, int b) => Tensor.From(new Shape(1, 1, 32, 32), images.Span.Slice(b * 1024, 1024));

    private static void AssertClose(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, float tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], tolerance);
    }
}
