using System.Text.Json;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Models.Loading;

/// <summary>Every published layout against PyTorch's logits; tests/goldens/make_vit.py makes the files.</summary>
public sealed class PublishedCheckpointTests
{
    private static readonly VitConfig Shape = new()
    {
        ImageSize = 12, PatchSize = 4, HiddenSize = 16, MlpDim = 32, NumHeads = 2, NumLayers = 2, NumClasses = 5,
    };

    [Theory]
    [InlineData("google_target.npz")]
    [InlineData("google_newer.npz")]
    public void Googles_arrays_give_the_references_logits(string file)
    {
        using Model model = Model.Open(Golden(file), new OpenOptions { Config = Shape });
        AssertLogits("google", model.Graph);
        Assert.Equal(2 * 16 + 8, model.Report.Matched.Count);
        // The optimiser's state.
        Assert.Equal(file == "google_newer.npz" ? 0 : 2, model.Report.Unexpected.Count);
    }

    [Fact]
    public void A_distilled_DeiT_gives_the_mean_of_both_heads()
    {
        using Model model = Model.Open(Golden("deit.pth"), new OpenOptions { Config = Shape with { ImageSize = 8, Distilled = true } });
        AssertLogits("deit", model.Graph);
        Assert.Empty(model.Report.Unexpected);
    }

    [Fact]
    public void Positions_of_another_grid_are_stretched_corner_to_corner()
    {
        using Model model = Model.Open(Golden("port.bin"), new OpenOptions { Config = Shape with { ImageSize = 20, Channels = 1 } });
        AssertLogits("resized", model.Graph);
        Assert.Equal("transformer.embeddings.position_embeddings [1,10,16] -> [1,26,16]", Assert.Single(model.Report.Resized));
    }

    [Fact]
    public void Positions_that_are_no_grid_are_refused_with_the_files_name()
    {
        // Without the distillation token 5 positions would be left for the patches.
        string path = Golden("deit.pth");
        var e = Assert.Throws<EspalierException>(() => Model.Open(path, new OpenOptions { Config = Shape }));
        Assert.StartsWith(path, e.Message, StringComparison.Ordinal);
        Assert.Contains("square grid", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_wrong_number_of_heads_is_found_in_Googles_arrays()
    {
        var e = Assert.Throws<EspalierException>(() => Model.Open(Golden("google.npz"), new OpenOptions { Config = Shape with { NumHeads = 4 } }));
        Assert.Contains("2 attention heads, not 4", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Heads_are_flattened_head_by_head()
    {
        // D = 4, two heads of 2: K[i, a, b] of a query must land in W[2a + b, i], K[a, b, j] of the output in W[j, 2a + b].
        float[] data = [.. Enumerable.Range(0, 16).Select(i => (float)i)];
        NamedArray query = Layout.InputToHeads(new NamedArray("q", [4, 2, 2], data));
        NamedArray output = Layout.HeadsToOutput(new NamedArray("o", [2, 2, 4], data));
        for (int a = 0; a < 2; a++)
            for (int b = 0; b < 2; b++)
                for (int i = 0; i < 4; i++)
                {
                    Assert.Equal(data[i * 4 + a * 2 + b], query.Data[(2 * a + b) * 4 + i]);
                    Assert.Equal(data[a * 8 + b * 4 + i], output.Data[i * 4 + 2 * a + b]);
                }
    }

    [Fact]
    public void Kernels_go_from_HWIO_to_OIHW()
    {
        int[] hwio = [2, 3, 4, 5];
        NamedArray kernel = Layout.ConvKernel(new NamedArray("k", hwio, [.. Enumerable.Range(0, 120).Select(i => (float)i)]));
        Assert.Equal([5, 4, 2, 3], kernel.Shape);
        for (int h = 0; h < 2; h++)
            for (int w = 0; w < 3; w++)
                for (int i = 0; i < 4; i++)
                    for (int o = 0; o < 5; o++)
                        Assert.Equal(((h * 3 + w) * 4 + i) * 5 + o, kernel.Data[((o * 4 + i) * 2 + h) * 3 + w]);
    }

    [Theory]
    [InlineData("embedding/kernel")]
    [InlineData("Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel")]
    [InlineData("Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel")]
    public void An_array_of_too_few_dimensions_is_named_with_its_file(string name)
    {
        var arrays = new List<NamedArray> { new(name, [3], [1, 2, 3]) };
        if (name != "embedding/kernel") arrays.Add(new NamedArray("embedding/kernel", [1, 1, 1, 1], [1]));
        var e = Assert.Throws<EspalierException>(() => ModelTensors.Of(new Checkpoint(arrays, source: "x.npz")));
        Assert.StartsWith("x.npz: ", e.Message, StringComparison.Ordinal);
        Assert.Contains(name, e.Message, StringComparison.Ordinal);
    }

    private static string Golden(string file) => Path.Combine(AppContext.BaseDirectory, "Goldens", "Vit", file);

    private static void AssertLogits(string name, Graph graph)
    {
        using JsonDocument all = JsonDocument.Parse(File.ReadAllText(Golden("expected.json")));
        JsonElement golden = all.RootElement.GetProperty(name);
        float[] pixels = [.. golden.GetProperty("images").EnumerateArray().Select(v => v.GetSingle())];
        int size = golden.GetProperty("size").GetInt32(), channels = golden.GetProperty("channels").GetInt32();
        using var scope = new Scope();
        Tensor logits = graph.Run(Tensor.From(new Shape(2, channels, size, size), pixels));
        float[] expected =
            [.. golden.GetProperty("logits").EnumerateArray().SelectMany(r => r.EnumerateArray()).Select(v => v.GetSingle())];
        Assert.True(expected.Max(MathF.Abs) > 0.5f);
        float[] actual = logits.ToArray();
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-4f);
    }
}
