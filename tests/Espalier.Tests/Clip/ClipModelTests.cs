using Espalier.Clip;
using Espalier.Compression;
using Espalier.Files;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Clip;

/// <summary>Features of both towers against an independent implementation in PyTorch, from files of all layouts.</summary>
public sealed class ClipModelTests : IDisposable
{
    private const float Tolerance = 1e-4f;

    private readonly TempFolder folder = new();

    private string Checkpoint => Path.Combine(folder.Path, "clip.safetensors");

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("openai")]
    [InlineData("open_clip")]
    [InlineData("huggingface")]
    [InlineData("npz")]
    public void FeaturesAreThoseOfPyTorch(string layout)
    {
        string path = Written(layout);
        Close(ClipGolden.Numbers("vitFeatures"), Image(path, 32));
        Close(ClipGolden.Numbers("textFeatures"), Text(path));
    }

    [Fact]
    public void TheModifiedResNetsFeaturesAreThoseOfPyTorch()
    {
        ClipGolden.Write(Checkpoint, ClipGolden.Whole("resnet"));
        Close(ClipGolden.Numbers("resnetFeatures"), Image(Checkpoint, 64));
    }

    [Fact]
    public void TheFileBesideSaysTheActivation()
    {
        string path = Written("huggingface");
        File.WriteAllText(Path.Combine(folder.Path, "config.json"), """{"vision_config":{"hidden_act":"gelu"}}""");
        Close(ClipGolden.Numbers("geluFeatures"), Image(path, 32));
        File.WriteAllText(Path.Combine(folder.Path, "config.json"), """{"vision_config":{"hidden_act":"relu"}}""");
        Assert.Contains("'relu'", Assert.Throws<EspalierException>(() => ClipModel.Open(path)).Message);
    }

    /// <summary>Some of open_clip's weights want pictures pressed to a square, and other numbers than OpenAI's.</summary>
    [Fact]
    public void TheFileBesideSaysHowPicturesArePrepared()
    {
        string path = Written("open_clip");
        string beside = Path.Combine(folder.Path, "open_clip_config.json");
        File.WriteAllText(beside, """
            {"model_cfg":{"quick_gelu":true},"preprocess_cfg":{"mean":[0.5,0.25,0.75],"std":[0.5,0.5,0.25],"interpolation":"bilinear",
            "resize_mode":"squash"}}
            """);
        using (Model tower = Model.Open(path, new OpenOptions { AnyInput = true }))
        {
            Preprocessing found = tower.Card.Preprocessing!;
            Assert.Equal((32, ResizeFit.Square, null, Interpolation.Bilinear), (found.Resize, found.Fit, found.Crop, found.Filter));
            Assert.Equal([0.5f, 0.25f, 0.75f], found.Mean);
            Assert.Equal([0.5f, 0.5f, 0.25f], found.Std);
        }
        File.WriteAllText(beside, """{"model_cfg":{"quick_gelu":true},"preprocess_cfg":{"std":0.5}}""");
        using (Model tower = Model.Open(path, new OpenOptions { AnyInput = true }))
        {
            Preprocessing usual = Preprocessing.Preset("clip", 32), found = tower.Card.Preprocessing!;
            Assert.Equal((32, ResizeFit.ShorterSide, 32, Interpolation.Bicubic), (found.Resize, found.Fit, found.Crop, found.Filter));
            Assert.Equal((usual.Mean, 0.5f), (found.Mean, Assert.Single(found.Std)));
        }
        File.WriteAllText(beside, """{"model_cfg":{},"preprocess_cfg":{"resize_mode":"longest"}}""");
        Assert.Contains("'longest'", Assert.Throws<EspalierException>(() => ClipModel.Open(path)).Message);
        File.WriteAllText(beside, """{"model_cfg":{},"preprocess_cfg":{"mean":[1,"x",3]}}""");
        Assert.Contains("mean", Assert.Throws<EspalierException>(() => ClipModel.Open(path)).Message);
    }

    [Fact]
    public void AClassEmbeddingWithoutAxesIsRefused()
    {
        Safetensors.Write(Checkpoint, [new NamedArray("visual.class_embedding", [], [1])], new Dictionary<string, string>());
        Assert.Throws<EspalierException>(() => ClipModel.Open(Checkpoint));
        Assert.Throws<EspalierException>(() => Model.Open(Checkpoint));
    }

    [Fact]
    public void HalvesAreRead()
    {
        ClipGolden.Write(Checkpoint, ClipGolden.Whole(), ElementType.F16);
        Close(ClipGolden.Numbers("vitFeatures"), Image(Checkpoint, 32), 0.02f);
    }

    [Fact]
    public void LogitsAreScaledCosinesBothWays()
    {
        ClipGolden.Write(Checkpoint, ClipGolden.Whole());
        using ClipModel model = Open(Checkpoint);
        Assert.Equal(MathF.Exp(ClipGolden.Root.GetProperty("scale").GetSingle()), model.LogitScale, 1e-4f);
        float[][] images = Rows(ClipGolden.Numbers("vitFeatures"), 24), texts = Rows(ClipGolden.Numbers("textFeatures"), 24);
        ClipLogits logits = model.Logits(images, texts);
        Close(ClipGolden.Numbers("logits"), [.. logits.PerImage.SelectMany(r => r)]);
        Close(ClipGolden.Numbers("probabilities"), [.. logits.Probabilities().SelectMany(r => r)]);
        Assert.Equal(logits.PerImage[1][2], logits.PerText[2][1]);
        // By hand: cosines of (3, 4) and (1, 0) with (1, 0) and (0, 2).
        ClipLogits toy = model.Logits([[3, 4], [1, 0]], [[1, 0], [0, 2]]);
        Close([0.6f * model.LogitScale, 0.8f * model.LogitScale, model.LogitScale, 0], [.. toy.PerImage.SelectMany(r => r)]);
    }

    [Fact]
    public void PicturesAndTextsGoThroughTheWholeModel()
    {
        ClipGolden.Write(Checkpoint, ClipGolden.Whole());
        using ClipModel model = Open(Checkpoint);
        Image picture = Golden.Read("color16");
        string[] texts = ["a cat", "a dog", "A  CAT"];
        ClipLogits logits = model.Logits([picture], texts);
        Assert.Equal(logits.PerImage[0][0], logits.PerImage[0][2], 1e-4f);
        Assert.NotEqual(logits.PerImage[0][0], logits.PerImage[0][1], 1e-3f);
        Assert.Equal(1, logits.Probabilities()[0].Sum(), 1e-5f);
        Assert.Contains("too long", Assert.Throws<EspalierException>(() =>
            model.EncodeText("one two three four five six")).Message);
        Assert.Single(model.EncodeText(["one two three four five six"], truncate: true));
        // Many, so that batches are filled and the last is not: each as alone.
        string[] many = [.. Enumerable.Range(0, 67).Select(i => i % 2 == 0 ? "a dog" : "a cat and")];
        float[][] features = model.EncodeText(many);
        Close(model.EncodeText("a cat and")[0], features[65]);
        Close(model.EncodeText("a dog")[0], features[66]);
    }

    [Theory]
    [InlineData(Precision.Bf16)]
    [InlineData(Precision.Int8)]
    public void BothTowersRunInFewerBits(Precision precision)
    {
        if (KernelInfo.For(precision).Name is null) return;      // this processor has none
        ClipGolden.Write(Checkpoint, ClipGolden.Whole());
        using ClipModel exact = Open(Checkpoint), less = Open(Checkpoint, precision);
        Image picture = Golden.Read("color16");
        Near(exact.EncodeImage(picture)[0], less.EncodeImage(picture)[0]);
        Near(exact.EncodeText("a dog")[0], less.EncodeText("a dog")[0]);

        static void Near(float[] a, float[] b)
        {
            float[] x = ClipModel.Normalised(a), y = ClipModel.Normalised(b);
            Assert.True(x.Zip(y, (p, q) => p * q).Sum() > 0.995f);
        }
    }

    [Fact]
    public void TowersAreModelsOfTheirOwn()
    {
        ClipGolden.Write(Checkpoint, ClipGolden.Whole());
        string towers = Path.Combine(folder.Path, "towers");
        ClipModel.SaveTowers(Checkpoint, towers);
        using ClipModel whole = Open(Checkpoint), parts = Open(towers);
        Assert.Equal(whole.LogitScale, parts.LogitScale);
        Image picture = Golden.Read("color16");
        Assert.Equal(whole.EncodeImage(picture)[0], parts.EncodeImage(picture)[0]);
        Assert.Equal(whole.EncodeText("a dog")[0], parts.EncodeText("a dog")[0]);
        Assert.Contains("square images", Assert.Throws<EspalierException>(() =>
            Model.Open(Path.Combine(towers, ClipModel.TextFileName))).Message);
        File.Delete(Path.Combine(towers, ClipModel.TextFileName));
        using ClipModel alone = Open(towers);
        Assert.False(alone.KnowsTexts);
        Assert.Contains("no text tower", Assert.Throws<EspalierException>(() => alone.EncodeText("a dog")).Message);
    }

    [Fact]
    public void OnnxRuntimeGivesTheSameOfBothTowers()
    {
        ClipGolden.Write(Checkpoint, ClipGolden.Whole());
        foreach (int opset in OnnxFile.Opsets)
        {
            string file = Path.Combine(folder.Path, $"tower{opset}.onnx");
            using var scope = new Scope();
            using (Model image = Model.Open(Checkpoint)) image.ExportOnnx(file, new OnnxOptions { Opset = opset });
            Close(ClipGolden.Numbers("vitFeatures"),
                OnnxRuntime.Floats(OnnxRuntime.Run(file, ClipGolden.Images(32).Span, 2)["logits"]));
            using (Model text = Texts(Checkpoint)) text.ExportOnnx(file, new OnnxOptions { Opset = opset });
            long[] ids = [.. ClipGolden.Ids().Select(i => (long)i)];
            Close(ClipGolden.Numbers("textFeatures"), OnnxRuntime.Run(file, "ids", [3, 12], ids));
            // What is behind the end of a text is nothing: the causal mask is in the file.
            ids[6] = 5;
            Close(ClipGolden.Numbers("textFeatures"), OnnxRuntime.Run(file, "ids", [3, 12], ids));
        }
    }

    [Fact]
    public void TokenMergingWidthsAndAgentsWorkOnTheImageTower()
    {
        ClipGolden.Write(Checkpoint, ClipGolden.Whole());
        using Model model = Model.Open(Checkpoint);
        TransformerBlocks blocks = TransformerBlocks.Of(model.Graph);
        Assert.Equal((2, 17, 1), (blocks.Blocks.Count, blocks.Tokens, blocks.PrefixTokens));
        using var scope = new Scope();
        Tensor images = ClipGolden.Images(32);
        using (var groups = DependencyGraph.Build(model.Graph, images, HeadView.Heads))
            Assert.Contains(groups.Groups, g => g.Count == 2 && g.Kind == ChannelKind.Heads);
        TokenAgents.Add(model);
        using Session session = model.Session(new SessionOptions { Pruning = Pruning.None });
        var features = new float[2 * 24];
        session.Run(images.Span, 2, features);
        Close(ClipGolden.Numbers("vitFeatures"), features);
    }

    [Fact]
    public void AnotherImageSizeStretchesThePositions()
    {
        ClipGolden.Write(Checkpoint, ClipGolden.Whole());
        using Model model = Model.Open(Checkpoint, new OpenOptions { ImageSize = 48 });
        Assert.Equal(48, model.Card.Preprocessing!.Size);
        using var scope = new Scope();
        Assert.Equal(new Shape(2, 24), model.Graph.Run(ClipGolden.Images(48)).Shape);
    }

    [Theory]
    [InlineData("visual.proj", "has no visual.proj of 2 dimensions")]
    [InlineData("visual.conv1.weight", "visual.conv1.weight")]
    [InlineData("transformer.resblocks.1.mlp.c_fc.weight", "lacks 1")]
    [InlineData("positional_embedding", "positional_embedding")]
    public void AMissingTensorIsOneLine(string missing, string reason)
    {
        ClipGolden.Write(Checkpoint, ClipGolden.Whole().Where(a => a.Name != missing));
        string message = Assert.Throws<EspalierException>(() => ClipModel.Open(Checkpoint)).Message;
        Assert.Contains(reason, message);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("visual.positional_embedding", new[] { 19, 128 }, "square grid")]
    [InlineData("token_embedding.weight", new[] { 600, 60 }, "a text tower of width 60, which is no multiple of 64")]
    [InlineData("visual.transformer.resblocks.0.attn.in_proj_weight", new[] { 385, 128 }, "3 of a kind")]
    [InlineData("visual.ln_pre.weight", new[] { 64 }, "ln_pre")]
    public void AWrongShapeIsOneLine(string name, int[] shape, string reason)
    {
        ClipGolden.Write(Checkpoint, Reshaped(name, shape));
        string message = Assert.Throws<EspalierException>(() => ClipModel.Open(Checkpoint)).Message;
        Assert.StartsWith(Checkpoint, message);
        Assert.DoesNotContain('\n', message);
        Assert.Contains(reason, message);
    }

    /// <summary>Released weights have 100, where a file does not say.</summary>
    [Fact]
    public void AScaleWithoutAValueIsTheUsualOne()
    {
        ClipGolden.Write(Checkpoint, Reshaped("logit_scale", [1, 0]));
        using ClipModel usual = ClipModel.Open(Checkpoint);
        Assert.Equal(100, usual.LogitScale);
    }

    /// <summary>One tensor of another shape, of zeros.</summary>
    private static IEnumerable<NamedArray> Reshaped(string name, int[] shape) => ClipGolden.Whole().Select(a => a.Name != name ? a
        : new NamedArray(name, shape, new float[shape.Aggregate(1, (x, y) => x * y)]));

    [Fact]
    public void WhatIsNoClipIsNamed()
    {
        Assert.Contains("do you mean 'ViT-B/32'", Assert.Throws<EspalierException>(() => ClipModel.Open("ViT-B/3")).Message);
        ClipGolden.Write(Checkpoint, [new NamedArray("w", [1], [1])]);
        Assert.Contains("no CLIP", Assert.Throws<EspalierException>(() => ClipModel.Open(Checkpoint)).Message);
    }

    /// <summary>Of the sizes of arXiv 2103.00020, tables 19 and 20, by shapes alone.</summary>
    [Theory]
    [InlineData("RN50", 102_007_137, 38_316_896)]
    [InlineData("RN101", 119_688_033, 56_259_936)]
    [InlineData("RN50x4", 178_300_601, 87_137_080)]
    [InlineData("RN50x16", 290_979_217, 167_328_912)]
    [InlineData("ViT-B/32", 151_277_313, 87_849_216)]
    [InlineData("ViT-B/16", 149_620_737, 86_192_640)]
    [InlineData("ViT-L/14", 427_616_513, 303_966_208)]
    [InlineData("ViT-L/14@336px", 427_944_193, 304_293_888)]
    public void PublishedSizesHaveThePublishedParameters(string name, long all, long images)
    {
        ClipConfig config = Published(name);
        using InitSkip _ = Init.ShapesOnly();
        ImageClassifier image = config.IsResNet ? new ClipResNet(config) : new ClipVision(config);
        Assert.Equal(images, image.ParameterCount);
        Assert.Equal(all, images + new ClipText(config).ParameterCount + 1);
        if (name == "ViT-B/32") Assert.Equal(4.409, image.CountMultiplyAdds() / 1e9, 0.001);
    }

    internal static ClipConfig Published(string name)
    {
        ClipPreset preset = ClipWeights.Find(name)!;
        (int width, int[] layers, int? patch, int text) = name switch
        {
            "RN50" => (64, new[] { 3, 4, 6, 3 }, (int?)null, 512),
            "RN101" => (64, [3, 4, 23, 3], null, 512),
            "RN50x4" => (80, [4, 6, 10, 6], null, 640),
            "RN50x16" => (96, [6, 8, 18, 8], null, 768),
            "ViT-B/32" => (768, [12], 32, 512),
            "ViT-B/16" => (768, [12], 16, 512),
            _ => (1024, [24], 14, 768),
        };
        return new ClipConfig
        {
            Embedding = preset.Embedding, ImageSize = preset.ImageSize, ImageWidth = width, ImageLayers = layers,
                PatchSize = patch,
            TextWidth = text,
        };
    }

    private string Written(string layout)
    {
        List<NamedArray> arrays = ClipGolden.Whole();
        if (layout == "huggingface") arrays = ClipGolden.HuggingFace(arrays);
        if (layout == "open_clip")
        {
            arrays = [.. arrays.Select(a => a.Name.StartsWith("visual.", StringComparison.Ordinal) || a.Name == "logit_scale" ? a
                : new NamedArray("text." + a.Name, a.Shape, a.Data)).Where(a =>
                    !a.Name.EndsWith("_resolution", StringComparison.Ordinal)
                && !a.Name.EndsWith("_length", StringComparison.Ordinal)), new NamedArray("text.attn_mask", [12, 12],
                    new float[144])];
        }
        if (layout != "npz")
        {
            ClipGolden.Write(Checkpoint, arrays);
            return Checkpoint;
        }
        string path = Path.Combine(folder.Path, "clip.npz");
        using var zip = new System.IO.Compression.ZipArchive(File.Create(path), System.IO.Compression.ZipArchiveMode.Create);
        foreach (NamedArray array in arrays)
        {
            using Stream entry = zip.CreateEntry(array.Name + ".npy").Open();
            Npy.Write(entry, array);
        }
        return path;
    }

    private ClipModel Open(string path, Precision precision = Precision.Fp32)
    {
        string vocabulary = Path.Combine(folder.Path, "vocabulary.txt");
        File.WriteAllLines(vocabulary, ClipGolden.Merges());
        return ClipModel.Open(path, new ClipOptions { Vocabulary = vocabulary, Precision = precision });
    }

    /// <summary>By the graph, which a session must agree with.</summary>
    private static float[] Image(string path, int size)
    {
        using Model model = Model.Open(path);
        return Features(model, ClipGolden.Images(size));
    }

    private static float[] Text(string path)
    {
        using Model model = Texts(path);
        Assert.Equal(0, model.Channels);
        return Features(model, Tensor.From(new Shape(3, 12), ClipGolden.Ids()));
    }

    private static Model Texts(string path)
    {
        using ModelTensors file = ModelTensors.Open(path);
        ClipLayout layout = ClipLayout.Of(file, () => new ClipBeside(path))!;
        using ModelReader reader = ModelReader.Of(layout.Text, layout.TextTower(), new OpenOptions { AnyInput = true });
        return Model.Of(reader);
    }

    private static float[] Features(Model model, Tensor input)
    {
        using var scope = new Scope();
        float[] features = model.Graph.Run(input).ToArray();
        using Session session = model.Session();
        var same = new float[features.Length];
        for (int round = 0; round < 2; round++)
        {
            session.Run(input.ToArray(), input.Shape[0], same);
            Close(features, same);
        }
        return features;
    }

    private static float[][] Rows(float[] values, int width) => [.. values.Chunk(width)];

    private static void Close(float[] expected, float[] actual, float tolerance = Tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            Assert.True(MathF.Abs(expected[i] - actual[i]) <= tolerance * Math.Max(1, MathF.Abs(expected[i])),
                $"{i}: {actual[i]}, not {expected[i]}");
    }
}
