using System.Text.Json;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Models.Loading;

/// <summary>Transformers under the names of their authors give what tests/goldens/make_backbones.py computed, which reads the same
/// names: logits, or features where there is no head.</summary>
public sealed class BackboneTests : IDisposable
{
    private static readonly VitConfig Shape = new()
    {
        ImageSize = 16, PatchSize = 4, HiddenSize = 24, MlpDim = 32, NumHeads = 3, NumLayers = 2, NumClasses = 5,
    };

    private static readonly JsonElement Root = JsonDocument.Parse(
        File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Goldens", "Backbones", "backbones.json"))).RootElement;

    private readonly TempFolder folder = new();

    public static TheoryData<string> Names => [.. Root.EnumerateObject().Select(p => p.Name)];

    private string Checkpoint => Path.Combine(folder.Path, "model.safetensors");

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(Names))]
    public void GivesTheReferencesOutput(string name)
    {
        Write(name);
        float[] expected = Numbers(name, "output");
        Assert.True(expected.Max(MathF.Abs) > 0.5f && Math.Abs(expected[0] - expected[expected.Length / 2]) > 1e-3f);
        string saved = Path.Combine(folder.Path, "saved.safetensors"), onnx = Path.Combine(folder.Path, "model.onnx");
        using var scope = new Scope();
        Tensor images = Images(16);
        using (Model model = Model.Open(Checkpoint, new OpenOptions { Config = Shape }))
        {
            Close(expected, model.Graph.Run(images).ToArray());
            Assert.Equal(Feature(name), model.Card.Features);
            model.Save(saved);
            OnnxFile.Write(onnx, model.Graph, new OnnxOptions());
        }
        using (Model read = Model.Open(saved)) Close(expected, read.Graph.Run(images).ToArray());
        using (Session session = Session.Open(saved))
        {
            var actual = new float[expected.Length];
            session.Run(images.Span, 2, actual);
            Close(expected, actual);
        }
        Close(expected, OnnxRuntime.Floats(OnnxRuntime.Run(onnx, images.Span, 2)["logits"]));
    }

    [Theory]
    [InlineData("norm_pre", "usual for CLIP", 1e-5f)]
    [InlineData("norm_pre_biased", "usual for vision transformers", 1e-6f)]
    public void OnlyClipHasClipsPreprocessingAndEpsilon(string name, string origin, float epsilon)
    {
        Write(name);
        using (ModelTensors file = ModelTensors.Open(Checkpoint))
            Assert.Equal(epsilon, VitTensors.Form(file, classes: null, newHead: false).Epsilon);
        using Model model = Model.Open(Checkpoint, new OpenOptions { Config = Shape });
        Assert.Equal(origin, model.Card.Preprocessing!.Origin);
    }

    /// <summary>Positions are stretched as the authors' code does.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void AnotherImageSizeIsTheReferences(string name)
    {
        Write(name);
        using var scope = new Scope();
        using Model model = Model.Open(Checkpoint, new OpenOptions { Config = Shape, ImageSize = 24 });
        Assert.Single(model.Report.Resized);
        Assert.Equal(24, model.Card.Preprocessing!.Size);
        Close(Numbers(name, "larger"), model.Graph.Run(Images(24)).ToArray());
    }

    /// <summary>A file that is read whole, and with something in front of its names.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void OtherFormatsAndPrefixesHaveTheSameTensors(string name)
    {
        Write(name);
        using ModelTensors parts = ModelTensors.Open(Checkpoint), whole = ModelTensors.Of(CheckpointFile.Read(Checkpoint));
        Write(name, prefix: "module.");
        using ModelTensors prefixed = ModelTensors.Open(Checkpoint);
        Assert.Equal(parts.Layout, whole.Layout);
        foreach (ModelTensors other in new[] { whole, prefixed })
        {
            Assert.Equal(parts.Shapes.Keys.Order(), other.Shapes.Keys.Order());
            Assert.All(parts.Shapes.Keys, n => Assert.Equal(parts.Shapes[n], other.Shapes[n]));
        }
        Assert.All(parts.Shapes.Keys, n => Assert.Equal(parts.Read(n), whole.Read(n)));
    }

    [Theory]
    [InlineData("mae", 10)]
    [InlineData("mae_hf", 10)]
    [InlineData("siglip", 3)]
    [InlineData("dinov2", 1)]
    [InlineData("dinov2_hf", 1)]
    [InlineData("layer_scale", 0)]
    public void WhatIsOnlyForTrainingPassesAndIsNamed(string name, int count)
    {
        Write(name);
        using Model model = Model.Open(Checkpoint, new OpenOptions { Config = Shape });
        Assert.Equal(count, model.Report.Unexpected.Count);
        Assert.Equal(Feature(name), model.Description.Contains("features", StringComparison.Ordinal));
    }

    [Fact]
    public void AConfigurationBesideTheFileSaysTheHeads()
    {
        Write("dinov2_hf");
        Assert.Contains("give its name as Architecture", Refused(new OpenOptions()));
        string config = Path.Combine(folder.Path, "config.json");
        File.WriteAllText(config, """{"num_attention_heads":3,"layer_norm_eps":1e-6,"hidden_act":"gelu"}""");
        using var scope = new Scope();
        using (Model model = Model.Open(Checkpoint)) Close(Numbers("dinov2_hf", "output"), model.Graph.Run(Images(16)).ToArray());
        using (FeatureNetwork features = FeatureNetwork.Open(Checkpoint)) Assert.Equal(24, features.Width);
        File.WriteAllText(config, """{"num_attention_heads":3,"hidden_act":"swish"}""");
        Assert.Contains("activation 'swish'", Refused(new OpenOptions()));
        Write("siglip");
        File.WriteAllText(config, """{"vision_config":{"num_attention_heads":3,"hidden_act":"gelu_pytorch_tanh"},"text_config":{}}""");
        using (Model model = Model.Open(Checkpoint)) Close(Numbers("siglip", "output"), model.Graph.Run(Images(16)).ToArray());
    }

    /// <summary>DINOv2's small one is known by its width and depth.</summary>
    [Fact]
    public void PublishedSizesHaveThePublishedHeads()
    {
        const int Width = 192, Layers = 12;
        var arrays = new List<NamedArray>();
        void Add(string name, params int[] shape) => arrays.Add(new NamedArray(name, shape, new float[ArrayShape.Count(shape)]));
        Add("cls_token", 1, 1, Width);
        Add("pos_embed", 1, 5, Width);
        Add("patch_embed.proj.weight", Width, 3, 2, 2);
        Add("patch_embed.proj.bias", Width);
        for (int i = 0; i < Layers; i++)
        {
            foreach (string vector in new[] { "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.proj.bias", "mlp.fc2.bias",
                "ls1.gamma", "ls2.gamma" }) Add($"blocks.{i}.{vector}", Width);
            Add($"blocks.{i}.attn.qkv.weight", 3 * Width, Width);
            Add($"blocks.{i}.attn.qkv.bias", 3 * Width);
            Add($"blocks.{i}.attn.proj.weight", Width, Width);
            Add($"blocks.{i}.mlp.fc1.weight", 8, Width);
            Add($"blocks.{i}.mlp.fc1.bias", 8);
            Add($"blocks.{i}.mlp.fc2.weight", Width, 8);
        }
        Add("norm.weight", Width);
        Add("norm.bias", Width);
        Safetensors.Write(Checkpoint, arrays, new Dictionary<string, string>());
        using Model model = Model.Open(Checkpoint);
        Assert.Equal((4, 3, Width), (model.ImageSize, model.Channels, model.NumClasses));
        Assert.All(model.Graph.Nodes.Select(n => n.Op).OfType<AttentionOp>(), a => Assert.Equal(3, a.Heads.Count));
        Assert.Equal(PositionResizeKind.BicubicAntialias, model.Card.Positions);
    }

    [Fact]
    public void FeaturesGetAHeadForClasses()
    {
        Write("dinov2");
        using (Model model = Model.Open(Checkpoint, new OpenOptions { Config = Shape, Classes = 4 }))
        {
            Assert.Equal(4, model.NumClasses);
            Assert.Equal(["head.weight", "head.bias"], model.Report.Replaced.Concat(model.Report.Missing).Order().Reverse());
            Assert.All(model.Graph.Weights["head.weight"].Tensor.ToArray(), w => Assert.Equal(0, w));
            Assert.False(model.Card.Features);
        }
        using (Model model = Model.Open(Checkpoint, new OpenOptions { Config = Shape }))
            Assert.Contains("has no head", Assert.Throws<EspalierException>(() => model.ReplaceHead(4)).Message);
        // What stands between the class token and a head goes with it.
        Write("pre_logits");
        using (Model model = Model.Open(Checkpoint, new OpenOptions { Config = Shape, Classes = 4 }))
            Assert.DoesNotContain(model.Graph.Nodes, n => n.Op is TanhOp);
    }

    [Theory]
    [InlineData("blocks.1.ls2.gamma", "lacks 1 of the network's tensors (transformer.encoder.layer.1.ffn_scale)")]
    [InlineData("pos_embed", "position_embeddings")]
    [InlineData("attn_pool.latent", "pool", "siglip_timm")]
    public void AMissingTensorIsNamed(string missing, string says, string name = "dinov2")
    {
        Write(name, keep: n => n != missing);
        Assert.Contains(says, Refused(new OpenOptions { Config = Shape }));
    }

    [Fact]
    public void WhatNoFormHasIsNamed()
    {
        Write("dinov2", extra: new NamedArray("rope.periods", [4], new float[4]));
        Assert.Contains("rope.periods", Refused(new OpenOptions { Config = Shape }));
        Write("fc_norm", extra: new NamedArray("norm.weight", [24], new float[24]));
        Assert.Contains("has norm and fc_norm", Refused(new OpenOptions { Config = Shape }));
    }

    /// <summary>Shapes of strangers are refused and never indexed.</summary>
    [Theory]
    [InlineData("layer_scale", "head.weight")]
    [InlineData("layer_scale", "norm.weight")]
    [InlineData("layer_scale", "pos_embed")]
    [InlineData("layer_scale", "blocks.0.attn.qkv.weight")]
    [InlineData("siglip_timm", "attn_pool.latent")]
    [InlineData("dinov2_hf", "encoder.layer.0.attention.attention.query.weight")]
    public void AScalarInTheirPlaceIsOneLine(string name, string scalar)
    {
        Write(name, keep: n => n != scalar, extra: new NamedArray(scalar, [], [1]));
        string file = Refused(new OpenOptions { Config = Shape });
        Assert.DoesNotContain("Index", file);
        Assert.Equal(Checkpoint, file[..Checkpoint.Length]);
    }

    [Fact]
    public void AClassTokenBesideAPoolOrADistillationTokenWithoutAHeadIsRefused()
    {
        Write("siglip_timm", extra: new NamedArray("cls_token", [1, 1, 24], new float[24]));
        Assert.Contains("class token beside attention", Refused(new OpenOptions { Config = Shape }));
        Assert.Contains("distillation token", Assert.Throws<EspalierException>(() =>
            new VisionTransformer(Shape with { Distilled = true }, form: new VitForm { Head = false })).Message);
    }

    [Theory]
    [InlineData("dinov2", "deit")]
    [InlineData("mae", "deit")]
    [InlineData("siglip", "siglip")]
    public void PicturesArePreparedAsTheAuthorsDo(string name, string preset)
    {
        Write(name);
        using ModelTensors file = ModelTensors.Open(Checkpoint);
        VitForm form = VitTensors.Form(file, null, newHead: false);
        Preprocessing squashed = Preprocessing.Half(224, 3) with { Filter = Interpolation.Bicubic };
        Assert.Equal((preset == "siglip" ? squashed : Preprocessing.Preset(preset, 224)) with { Origin = null },
            PreprocessingDefaults.For(Shape with { ImageSize = 224, PatchSize = 16 }, file, form)! with { Origin = null });
    }

    private static bool Feature(string name) => !Root.GetProperty(name).GetProperty("shapes").EnumerateObject()
        .Any(p => p.Name is "head.weight" or "classifier.weight");

    private string Refused(OpenOptions options)
    {
        string message = Assert.Throws<EspalierException>(() => Model.Open(Checkpoint, options).Dispose()).Message;
        Assert.StartsWith(Checkpoint, message);
        Assert.DoesNotContain('\n', message);
        return message;
    }

    private void Write(string name, string prefix = "", Func<string, bool>? keep = null, NamedArray? extra = null)
    {
        var arrays = new List<NamedArray>();
        foreach (JsonProperty entry in Root.GetProperty(name).GetProperty("shapes").EnumerateObject())
        {
            int t = arrays.Count;
            int[] shape = [.. entry.Value.EnumerateArray().Select(n => n.GetInt32())];
            int count = (int)ArrayShape.Count(shape);
            double a = shape.Length == 3 ? 1 : shape.Length > 1 ? 2.5 / Math.Sqrt(count / shape[0]) : 0.4;
            bool norm = shape.Length == 1 && entry.Name.EndsWith("weight", StringComparison.Ordinal);
            arrays.Add(new NamedArray(prefix + entry.Name, shape,
                [.. Enumerable.Range(0, count).Select(i => (float)(a * Scrambled(t, i) + (norm ? 1 : 0)))]));
        }
        arrays.RemoveAll(x => keep?.Invoke(x.Name) == false);
        if (extra is not null) arrays.Add(extra);
        Safetensors.Write(Checkpoint, arrays, new Dictionary<string, string>());
    }

    /// <summary>The same numbers as the script's.</summary>
    private static double Scrambled(int t, int i)
    {
        uint h = (uint)i + (uint)(t * 7919 + 1);
        h = (h ^ (h >> 16)) * 0x7FEB352D;
        h = (h ^ (h >> 15)) * 0x846CA68B;
        return (h ^ (h >> 16)) / 2147483648.0 - 1;
    }

    private static Tensor Images(int size) => Tensor.From(new Shape(2, 3, size, size),
        [.. Enumerable.Range(0, 2 * 3 * size * size).Select(i => (float)(2 * Scrambled(1000, i)))]);

    private static float[] Numbers(string name, string what) =>
        [.. Root.GetProperty(name).GetProperty(what).EnumerateArray().Select(x => x.GetSingle())];

    private static void Close(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-4f);
    }
}
