using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Models.Loading;

/// <summary>One transformer under the names that others give its tensors, with what training scripts put in front of them.</summary>
public sealed class VitNamesTests : IDisposable
{
    private static readonly VitConfig Shape = new()
    {
        ImageSize = 64, PatchSize = 16, HiddenSize = 16, MlpDim = 32, NumHeads = 2, NumLayers = 2, NumClasses = 5,
    };

    private readonly TempFolder folder = new();
    private readonly Model model = Model.FromModule(new VisionTransformer(Shape));

    public void Dispose()
    {
        model.Dispose();
        folder.Dispose();
    }

    [Theory]
    [InlineData("own", "")]
    [InlineData("own", "_orig_mod.module.")]
    [InlineData("timm", "")]
    [InlineData("timm", "model.")]
    [InlineData("timm", "encoder.")]
    [InlineData("timm", "model.model.")]
    [InlineData("torchvision", "")]
    [InlineData("torchvision", "module._orig_mod.")]
    [InlineData("huggingface", "vit.")]
    [InlineData("huggingface", "backbone.vit.")]
    public void Names_of_others_are_read(string layout, string prefix)
    {
        string path = Write(layout, prefix);
        using Model read = Model.Open(path, new OpenOptions { Config = Shape });
        // Hugging Face's norms have a smaller epsilon.
        float most = layout == "huggingface" ? 1e-4f : 0;
        Assert.All(Logits(model).Zip(Logits(read)), pair => Assert.InRange(Math.Abs(pair.First - pair.Second), 0, most));
        // The same of a file that is read whole.
        using ModelTensors whole = ModelTensors.Of(CheckpointFile.Read(path));
        Assert.All(model.Graph.ReadWeights(), w => Assert.Equal(w.Tensor.ToArray(), whole.Read(w.Name)));
    }

    [Fact]
    public void A_prefix_comes_off_most_names_and_the_rest_stays()
    {
        Assert.Equal("model.", PublishedNames.PrefixOf(["model.a", "model.b", "criterion.weight"]));
        Assert.Equal("", PublishedNames.PrefixOf(["conv1.weight", "fc.weight"]));
        Assert.Equal("", PublishedNames.PrefixOf(["encoder.a", "encoder.b", "head.weight"]));
        Assert.Equal("", PublishedNames.PrefixOf([]));
    }

    [Fact]
    public void Attention_without_biases_has_biases_of_zero()
    {
        foreach (GraphValue w in model.Graph.ReadWeights().Where(w => IsProjectionBias(w.Name))) w.Tensor.Fill(0);
        string path = Write("own", "", w => !IsProjectionBias(w));
        using (Model read = Model.Open(path, new OpenOptions { Config = Shape })) Assert.Equal(Logits(model), Logits(read));
        // One of three that is missing is a damaged file.
        path = Write("own", "", w => w != "transformer.encoder.layer.1.attn.key.bias");
        Assert.Contains("lacks 1 of the network's tensors (transformer.encoder.layer.1.attn.key.bias)",
            Assert.Throws<EspalierException>(() => Model.Open(path, new OpenOptions { Config = Shape })).Message);

        static bool IsProjectionBias(string name) => name.Contains(".attn.") && !name.Contains(".out.") && name.EndsWith(".bias");
    }

    [Fact]
    public void Weights_of_torchvision_see_images_as_torchvision_does()
    {
        ModelTensors file = ModelTensors.Open(Write("torchvision", ""));
        using (file) Assert.Equal(Preprocessing.Preset("imagenet", 64, 3), PreprocessingDefaults.For(Shape, file, new VitForm()));
        Assert.Equal(Preprocessing.Half(64, 3), PreprocessingDefaults.For(Shape));
    }

    [Fact]
    public void Names_of_nothing_known_are_said()
    {
        string path = Write("own", "", rename: n => "x." + n);
        string message = Assert.Throws<EspalierException>(() => Model.Open(path, new OpenOptions { Config = Shape })).Message;
        Assert.Contains("it has x.", message);
        Assert.Contains("the network transformer.embeddings.", message);
    }

    private static float[] Logits(Model of)
    {
        using var scope = new Scope();
        var rng = new Rng(3);
        float[] pixels = [.. Enumerable.Range(0, 2 * 3 * 64 * 64).Select(_ => rng.NextFloat())];
        return of.Graph.Run(Tensor.From(new Shape(2, 3, 64, 64), pixels)).ToArray();
    }

    private string Write(string layout, string prefix, Func<string, bool>? keep = null, Func<string, string>? rename = null)
    {
        string path = Path.Combine(folder.Path, "other.safetensors");
        Dictionary<string, (int[] Shape, float[] Data)> left = model.Graph.ReadWeights().Where(w => keep?.Invoke(w.Name) ?? true)
            .ToDictionary(w => w.Name, w => (w.Shape.ToArray(), w.Tensor.ToArray()));
        var written = new List<SafetensorsEntry>();
        foreach (var (name, (shape, data)) in left)
        {
            string other = rename?.Invoke(name) ?? Renamed(layout, name);
            bool stacked = layout is "timm" or "torchvision";
            if (stacked && name.Contains(".attn.query."))
            {
                float[] all = [.. new[] { "query", "key", "value" }.SelectMany(p => left[name.Replace("query", p)].Data)];
                Add(Renamed(layout, name), [3 * shape[0], .. shape[1..]], all);
            }
            else if (!stacked || !(name.Contains(".attn.key.") || name.Contains(".attn.value."))) Add(other, shape, data);
        }
        Safetensors.Write(path, written, new Dictionary<string, string>());
        return path;

        void Add(string name, int[] shape, float[] data)
        {
            string before = name.StartsWith("classifier") ? prefix.Replace("vit.", "") : prefix;
            written.Add(new SafetensorsEntry(before + name, ElementType.F32, shape, stream => FloatBytes.Write(stream, data)));
        }
    }

    private static string Renamed(string layout, string name)
    {
        (string, string)[] table = layout switch
        {
            "timm" =>
            [
                ("transformer.embeddings.cls_token", "cls_token"), ("transformer.embeddings.position_embeddings", "pos_embed"),
                ("transformer.embeddings.patch_embeddings.", "patch_embed.proj."), ("transformer.encoder.encoder_norm.", "norm."),
                ("transformer.encoder.layer.", "blocks."), ("attention_norm", "norm1"), ("ffn_norm", "norm2"), ("attn.query", "attn.qkv"),
                ("attn.out", "attn.proj"), ("ffn.", "mlp."),
            ],
            "torchvision" =>
            [
                ("transformer.embeddings.cls_token", "class_token"), ("transformer.embeddings.position_embeddings", "encoder.pos_embedding"),
                ("transformer.embeddings.patch_embeddings.", "conv_proj."), ("transformer.encoder.encoder_norm.", "encoder.ln."),
                ("transformer.encoder.layer.", "encoder.layers.encoder_layer_"), ("attention_norm", "ln_1"), ("ffn_norm", "ln_2"),
                ("attn.query.", "self_attention.in_proj_"), ("attn.out", "self_attention.out_proj"), ("ffn.fc1", "mlp.0"),
                ("ffn.fc2", "mlp.3"), ("head.", "heads.head."),
            ],
            "huggingface" =>
            [
                ("transformer.embeddings.patch_embeddings.", "embeddings.patch_embeddings.projection."),
                ("transformer.encoder.encoder_norm.", "layernorm."), ("transformer.", ""), ("attention_norm", "layernorm_before"),
                ("ffn_norm", "layernorm_after"), ("attn.out", "attention.output.dense"), ("attn.", "attention.attention."),
                ("ffn.fc1", "intermediate.dense"), ("ffn.fc2", "output.dense"), ("head.", "classifier."),
            ],
            _ => [],
        };
        foreach (var (from, to) in table) name = name.StartsWith("head.") && from != "head." ? name : name.Replace(from, to);
        return name;
    }
}
