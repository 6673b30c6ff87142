using Espalier.Compression;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tests.Files;

/// <summary>
/// A transformer that differs from block to block in heads, query, value and hidden widths, one block with unequal heads, and a
/// narrower stream: cut from a graph, then saved, loaded with nothing else, and run in sessions.
/// </summary>
public sealed class CutTransformerTests : IDisposable
{
    private const int Batch = 5;
    private const string Blocks = "transformer.encoder.layer.";

    private readonly string folder = Directory.CreateTempSubdirectory("espalier-cut-").FullName;
    private readonly Model model;
    private readonly Tensor images;

    public CutTransformerTests()
    {
        VitConfig config = VitPresets.Get("vit-tiny-28") with { NumLayers = 3, PruneLayers = null };
        var vit = new VisionTransformer(config, seed: 5);
        var rng = new Rng(2);
        foreach (var (name, p) in vit.NamedParameters())
            if (p.Rank == 1 || name.StartsWith("head", StringComparison.Ordinal)) Init.Normal(p, 0.3f, ref rng);
        model = Model.FromModule(vit);
        images = Tensor.Unscoped(new Shape(Batch, config.Channels, config.ImageSize, config.ImageSize));
        Init.Normal(images, 1, ref rng);
        Cut(HeadView.Heads, (Blocks + "0.attn.query", [1]), (Blocks + "0.ffn.fc1", [0, 3, 95]), ("transformer.embeddings.patch_embeddings", [7, 40]));
        Cut(HeadView.EachHead, (Blocks + "1.attn.query", [0, 1, 2, 30]), (Blocks + "1.attn.value", [25, 26]), (Blocks + "1.ffn.fc1", [1]));
        Cut(HeadView.AllHeads, (Blocks + "2.attn.query", [2, 5]), (Blocks + "2.attn.value", [11]), (Blocks + "2.ffn.fc1", [8, 9]));
    }

    public void Dispose()
    {
        model.Dispose();
        images.Dispose();
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public void Blocks_keep_what_was_left_of_each()
    {
        HeadLayout[] heads = [.. model.Graph.Nodes.Select(n => n.Op).OfType<AttentionOp>().Select(a => a.Heads)];
        Assert.Equal([HeadLayout.Uniform(3, 12), new HeadLayout([9, 12, 11, 12], [12, 12, 10, 12]), HeadLayout.Uniform(4, 10, 11)], heads);
        Assert.Equal(new Shape(1, 50, 46), model.Graph["transformer.embeddings.position_embeddings"].Shape);
    }

    [Fact]
    public void A_file_of_it_needs_nothing_else()
    {
        string path = Path.Combine(folder, "cut.safetensors");
        model.Save(path);
        using Model read = Model.Open(path);
        using var scope = new Scope();
        Assert.Equal(Logits(model), Logits(read));
        Assert.Equal(model.Graph.CostPerImage, read.Graph.CostPerImage);
    }

    [Theory]
    [InlineData(Precision.Fp32, 1e-4f)]
    [InlineData(Precision.Bf16, 0.05f)]
    [InlineData(Precision.Int8, 0.1f)]
    public void A_session_of_it_gives_the_same(Precision precision, float tolerance)
    {
        if (precision == Precision.Bf16 && DotKernels.Bf16.Tile is null) return;       // this processor has no kernel for it
        if (precision == Precision.Int8 && DotKernels.Int8.Tile is null) return;
        using var session = new Session(model.Graph, new SessionOptions { Precision = precision });
        using var scope = new Scope();
        float[] expected = Logits(model), actual = new float[expected.Length];
        session.Run(images.Span, Batch, actual);
        float scale = Math.Max(1, expected.Max(MathF.Abs));
        for (int i = 0; i < expected.Length; i++)
            Assert.True(MathF.Abs(expected[i] - actual[i]) <= tolerance * scale, $"{i}: {actual[i]}, not {expected[i]}");
    }

    private float[] Logits(Model of) => of.Graph.Run(images).ToArray();

    private void Cut(HeadView view, params (string Group, int[] Channels)[] what)
    {
        using var graph = DependencyGraph.Build(model.Graph, images, view);
        var plan = new RemovalPlan();
        foreach (var (group, channels) in what) plan.Add(graph[group], channels);
        RemovalReport report = Removal.Apply(graph, plan, new RemovalOptions(MoveConstants: false));
        Assert.InRange(report.Difference, 0, 1e-4f);
        Assert.Equal(report.Summary.MultiplyAddsAfter, model.Graph.CostPerImage.MultiplyAdds);
        Assert.Equal(report.Summary.ParametersAfter, model.ParameterCount);
    }
}
