using Espalier.Compression;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Structure;

/// <summary>The blocks of every form of a vision transformer are found in its graph, and what is none is refused.</summary>
public sealed class TransformerBlocksTests
{
    private const string Layer = "transformer.encoder.layer.";

    private static readonly VitConfig Config = new()
    {
        ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 12, MlpDim = 20, NumHeads = 3, NumLayers = 2, NumClasses = 4,
    };

    public static TheoryData<string> Forms => ["plain", "distilled", "hybrid", "hybrid-torch", "conv"];

    [Theory]
    [MemberData(nameof(Forms))]
    public void Of_networks_of_this_library(string form)
    {
        VitConfig config = form switch
        {
            "distilled" => Config with { Distilled = true },
            "hybrid" => Config with { Stem = VitStem.ResNet50, ImageSize = 32, PatchSize = 1 },
            "conv" => Config with { Stem = VitStem.Convolutions, PatchSize = 1 },
            "hybrid-torch" => Config with { Stem = VitStem.ResNet50Torch, ImageSize = 32, PatchSize = 1 },
            _ => Config,
        };
        using var vit = new VisionTransformer(config);
        Graph graph = vit.Trace();
        Check(graph, config);
        Check(graph.Prepared(training: true), config);
    }

    [Fact]
    public void Of_a_file()
    {
        string path = Path.GetTempFileName();
        try
        {
            using (var model = Model.FromModule(new VisionTransformer(Config with { Distilled = true }))) model.Save(path);
            using Model read = Model.Open(path);
            Check(read.Graph, Config with { Distilled = true });
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void With_gates_and_dropped_rows_in_between()
    {
        using var vit = new VisionTransformer(Config);
        Graph graph = vit.Trace();
        using var scope = new Scope();
        TransformerBlock first = TransformerBlocks.Of(graph).Blocks[0];
        graph.InsertAfter(first.AfterAttention, x => F.KeepRows(x, F.Sum(x, 1), KeepRule.Count(2)));
        graph.InsertAfter(first.AttentionNorm.Output, x => F.Mul(x, Tensor.Full(new Shape(12), 1)));
        graph.InsertAfter(first.Attention.Output, x => F.Mul(x, Tensor.Full(new Shape(12), 1)));
        graph.InsertAfter(first.Fc2.Output, x => F.Mul(x, Tensor.Full(new Shape(12), 1)));
        graph.InsertAfter(first.Output, x => F.KeepRows(x, F.Sum(x, 1), KeepRule.Count(1)));
        Check(graph, Config);
    }

    [Fact]
    public void Otherwise_activated_and_normed_by_the_mean()
    {
        using var scope = new Scope();
        Tensor W(int outputs, int inputs) => Tensor.Full(new Shape(outputs, inputs), 0.1f);
        Tensor Norm(Tensor x) => F.LayerNorm(x, Tensor.Full(new Shape(6), 1), Tensor.Zeros(new Shape(6)), 1e-6f);
        Graph graph = Graph.Trace(images =>
        {
            Tensor x = F.Linear(F.PatchesToRows(images, 4), W(6, 16));
            Tensor u = Norm(x);
            x = F.Add(x, F.Linear(F.Attention(F.Linear(u, W(4, 6)), F.Linear(u, W(4, 6)), F.Linear(u, W(2, 6)),
                HeadLayout.Uniform(2, 2, 1), 1), W(6, 2)));
            Tensor hidden = F.Linear(Norm(x), W(9, 6));
            x = F.Add(x, F.Linear(F.Mul(hidden, F.Sigmoid(F.Mul(hidden, 1.702f))), W(6, 9)));
            return F.Linear(F.TakeRows(Norm(x), 0), W(3, 6));
        }, new Shape(2, 1, 8, 8), []);
        TransformerBlocks found = TransformerBlocks.Of(graph);
        TransformerBlock block = Assert.Single(found.Blocks);
        Assert.Equal((4, 1), (found.Tokens, found.PrefixTokens));
        Assert.Equal((9, 6), (block.Fc1.Operands[1]!.Shape[0], block.Fc2.Operands[1]!.Shape[0]));
        Assert.Equal(HeadLayout.Uniform(2, 2, 1), block.Heads);
    }

    [Fact]
    public void What_is_none_is_refused_in_one_line()
    {
        using Cnn cnn = CnnPresets.Create(CnnPresets.Get("resnet20"));
        Assert.Equal("the network is no vision transformer of pre-norm blocks: it has no attention",
            Assert.Throws<EspalierException>(() => TransformerBlocks.Of(cnn.Trace())).Message);
        using var vit = new VisionTransformer(Config);
        Graph graph = vit.Trace();
        graph.Remove(TransformerBlocks.Of(graph).Blocks[1].MlpNorm);
        Assert.Contains("has no MLP with a layer norm behind the attention",
            Assert.Throws<EspalierException>(() => TransformerBlocks.Of(graph)).Message);
        graph.Remove(graph.Nodes.First(n => n.Op is LayerNormOp));
        Assert.Contains("which is no residual branch of linear layers behind a norm",
            Assert.Throws<EspalierException>(() => TransformerBlocks.Of(graph)).Message);
    }

    private static void Check(Graph graph, VitConfig config)
    {
        TransformerBlocks found = TransformerBlocks.Of(graph);
        Assert.Equal((config.NumLayers, config.Tokens, config.PrefixTokens), (found.Blocks.Count, found.Tokens,
            found.PrefixTokens));
        for (int i = 0; i < found.Blocks.Count; i++)
        {
            TransformerBlock b = found.Blocks[i];
            Assert.Equal(i, b.Index);
            Assert.Equal(
                new[] { "attention_norm", "attn.query", "attn.key", "attn.value", "attn.out", "ffn_norm", "ffn.fc1", "ffn.fc2" }
                    .Select(n => $"{Layer}{i}.{n}.weight"),
                new[] { b.AttentionNorm, b.Query, b.Key, b.Value, b.Projection, b.MlpNorm, b.Fc1, b.Fc2 }.Select(n =>
                    n.Operands[1]!.Name));
            Assert.Equal(HeadLayout.Uniform(3, 4), b.Heads);
            Assert.Equal($"{Layer}{i}", b.Output.Name);
            Assert.Contains(b.AfterAttention.Producer!.Inputs, x =>
                x == b.Projection.Output || b.Projection.Output == b.AfterAttention);
        }
    }
}
