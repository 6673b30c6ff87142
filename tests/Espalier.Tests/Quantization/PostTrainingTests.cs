using Espalier.Inference;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Quantization;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;
using Espalier.Tests.Inference;

namespace Espalier.Tests.Quantization;

/// <summary>Whole networks, brought to few bits: outputs, files, ONNX out and in.</summary>
public sealed class PostTrainingTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    public static TheoryData<string, int> Networks => new()
    {
        { "resnet20", 16 }, { "mobilenet_v2", 32 }, { "vgg11_bn", 32 }, { "vit-tiny-28", 28 }, { "densenet40", 16 },
            { "shufflenet_v2_x1_0", 32 },
    };

    [Theory]
    [MemberData(nameof(Networks))]
    public void ANetworkInEightBitsIsNearlyTheSame(string name, int size)
    {
        using Model model = Create(name, size);
        using var scope = new Scope();
        Tensor images = SmallNetworks.Images(4, size, 11, model.Channels);
        float[] expected = model.Graph.Run(images).ToArray();
        PostTrainingResult result = PostTraining.Run(model.Graph, Calibration(model));
        Assert.NotEmpty(result.Layers);
        float[] rounded = model.Graph.Run(images).ToArray();
        Assert.InRange(Cosine(expected, rounded), 0.99, 1);
        Assert.NotEqual(expected, rounded);
        string file = Path.Combine(folder.Path, "model.safetensors");
        model.Save(file);
        using Model read = Model.Open(file);
        Assert.Equal(rounded, read.Graph.Run(images).ToArray());
    }

    /// <summary>A filter that has died has a scale as fine as the others': its bias is rounded to whole numbers of it.</summary>
    [Fact]
    public void ABiasBehindWeightsOfZeroStays()
    {
        var net = new GraphNet();
        Graph graph = net.Trace(x => net.Linear(F.GlobalAvgPool2d(F.Relu(F.Conv2d(x, net["a.weight", 8, 3, 3, 3], net["a.bias", 8], 1, 1))),
            "head", 5), 2, 3, 8, 8);
        net["a.weight"].Span[..27].Clear();
        net["a.bias"].Span[0] = 0.04f;
        using var scope = new Scope();
        Tensor images = GraphNet.Noise(new Shape(4, 3, 8, 8));
        foreach (ref float x in images.Span) x *= 50;
        PostTraining.Run(graph, [images]);
        Assert.Equal(0.04f, net["a.bias"].Span[0], 0.01f);
    }

    /// <summary>What ONNX Runtime makes of the file is what the graph gives; read again it is the same network.</summary>
    [Theory]
    [MemberData(nameof(Networks))]
    public void AsOnnxOutAndIn(string name, int size)
    {
        using Model model = Create(name, size);
        using var scope = new Scope();
        PostTraining.Run(model.Graph, Calibration(model), new PostTrainingOptions { Observer = ObserverKind.Mse });
        string file = Path.Combine(folder.Path, "model.onnx");
        model.ExportOnnx(file);
        Tensor images = SmallNetworks.Images(4, size, 12, model.Channels);
        float[] expected = model.Graph.Run(images).ToArray();
        Same(expected, OnnxRuntime.Floats(OnnxRuntime.Run(file, images.Span, 4)["logits"]));
        using Model read = Model.Open(file);
        Assert.Equal(QuantisedValue.Of(model.Graph).Count(), QuantisedValue.Of(read.Graph).Count());
        Same(expected, read.Graph.Run(images).ToArray());
        Assert.DoesNotContain(read.Graph.Nodes, n => n.Op is ElementOp { Function: ElementFunction.Round });
    }

    [Theory]
    [InlineData(true, false, false)]
    [InlineData(false, true, false)]
    [InlineData(false, false, true)]
    [InlineData(true, true, false)]
    public void FourBitsGainByCorrections(bool moments, bool biases, bool equalise)
    {
        double[] plain = Errors(new PostTrainingOptions { WeightBits = 4, PerChannel = !equalise });
        double[] better = Errors(new PostTrainingOptions
        {
            WeightBits = 4, SecondMoments = moments, CorrectBias = biases, Equalise = equalise, PerChannel = !equalise,
        });
        Assert.True(better.Average() < plain.Average(), $"{better.Average()} is not below {plain.Average()}");

        double[] Errors(PostTrainingOptions options) => [.. new[] { "resnet20", "vgg11_bn" }.Select(name =>
        {
            int size = name == "resnet20" ? 16 : 32;
            using Model model = Create(name, size);
            using var scope = new Scope();
            Tensor images = SmallNetworks.Images(8, size, 13);
            float[] expected = model.Graph.Run(images).ToArray();
            PostTraining.Run(model.Graph, Calibration(model), options);
            return 1 - Cosine(expected, model.Graph.Run(images).ToArray());
        })];
    }

    /// <summary>Second moments put codes in the place of the weights that biases are corrected by; the correction is of the weights that
    /// were there before.</summary>
    [Fact]
    public void BiasesAreCorrectedBehindSecondMomentsToo()
    {
        var moments = new PostTrainingOptions { WeightBits = 3, SecondMoments = true };
        float[][] before = Biases(moments), after = Biases(moments with { CorrectBias = true });
        // Behind the first layer's non-linearity inputs have means, and rounding to three bits moves them.
        Assert.True(before.Length > 15);
        foreach (var (x, y) in before.Zip(after).Skip(1)) Assert.InRange(x.Zip(y).Max(p => Math.Abs(p.First - p.Second)), 1e-3f, 10f);

        float[][] Biases(PostTrainingOptions options)
        {
            using Model model = Create("resnet20", 16);
            PostTraining.Run(model.Graph, Calibration(model), options);
            return [.. model.Graph.Nodes.Where(n => n.Op is Conv2dOp).Select(n => n.Operands[2]!.Tensor.ToArray())];
        }
    }

    /// <summary>Which layers are sensitive does not depend on what makes up for their rounding.</summary>
    [Fact]
    public void SensitivitiesAreOfTheFloatNetwork()
    {
        using Model whole = Create("resnet20", 16);
        var plain = new PostTrainingOptions { WeightBits = 3 };
        string[] Order(PostTrainingOptions options) => MixedPrecision.BySensitivity(() => Create("resnet20", 16), Calibration(whole), options);
        string[] order = Order(plain);
        Assert.True(order.Length > 10);
        Assert.Equal(order, Order(plain with { SecondMoments = true, CorrectBias = true }));
    }

    [Theory]
    [InlineData(NormCoding.Channels)]
    [InlineData(NormCoding.Powers)]
    public void ARangeForEachChannelOfANormLeavesTheFloatNetworkAsItIs(NormCoding norms)
    {
        using Model model = Create("vit-tiny-28", 28);
        using var scope = new Scope();
        Tensor images = SmallNetworks.Images(4, 28, 14, model.Channels);
        float[] expected = model.Graph.Run(images).ToArray();
        PostTrainingResult result = PostTraining.Run(model.Graph, Calibration(model), new PostTrainingOptions { Norms = norms });
        Assert.Contains(result.Notes, n => n.Contains("layer norms", StringComparison.Ordinal));
        foreach (GraphNode node in model.Graph.Nodes.Where(n => n.Op is QuantiseOp).ToArray())
            model.Graph.Remove(model.Graph.Nodes.Single(n => n.Output == node.Output));
        float[] floats = model.Graph.Run(images).ToArray();
        for (int i = 0; i < floats.Length; i++) Assert.Equal(expected[i], floats[i], 2e-3f * expected.Max(MathF.Abs));
    }

    /// <summary>Probabilities are rounded alike by the graph, its file, sessions and ONNX Runtime.</summary>
    [Theory]
    [InlineData(ProbabilityCoding.Uniform)]
    [InlineData(ProbabilityCoding.Twin)]
    [InlineData(ProbabilityCoding.Log2)]
    [InlineData(ProbabilityCoding.LogSqrt2)]
    public void ProbabilitiesOfFewBits(ProbabilityCoding coding)
    {
        using Model model = Create("vit-tiny-28", 28);
        using var scope = new Scope();
        Tensor images = SmallNetworks.Images(4, 28, 19, model.Channels);
        float[] expected = model.Graph.Run(images).ToArray();
        PostTraining.Run(model.Graph, Calibration(model), new PostTrainingOptions { Probabilities = coding });
        float[] rounded = model.Graph.Run(images).ToArray();
        Assert.InRange(Cosine(expected, rounded), 0.98, 1);
        var codes = model.Graph.Nodes.Select(n => n.Op).OfType<AttentionOp>().Select(a => a.Probabilities!).ToArray();
        Assert.All(codes, c => Assert.Equal((coding, 8), (c.Coding, c.Bits)));
        string file = Path.Combine(folder.Path, "model.safetensors"), onnx = Path.Combine(folder.Path, "model.onnx");
        model.Save(file);
        using Model read = Model.Open(file);
        Assert.Equal(rounded, read.Graph.Run(images).ToArray());
        foreach (GraphNode node in read.Graph.Nodes.Where(n => n.Op is AttentionOp)) node.Op = ((AttentionOp)node.Op).With(null);
        Assert.NotEqual(rounded, read.Graph.Run(images).ToArray());
        using Session session = model.Session();
        float[] fast = new float[rounded.Length];
        session.Run(images.Span, 4, fast);
        Same(rounded, fast);
        model.ExportOnnx(onnx);
        Same(rounded, OnnxRuntime.Floats(OnnxRuntime.Run(onnx, images.Span, 4)["logits"]));
    }

    /// <summary>Where there are enough tokens and columns, attention's products are of bytes, alike for all readers.</summary>
    [Fact]
    public void AttentionOfBytes()
    {
        var config = new VitConfig
        {
            ImageSize = 48, PatchSize = 4, Channels = 3, HiddenSize = 128, MlpDim = 64, NumHeads = 2, NumLayers = 2,
            NumClasses = 10,
        };
        using var vit = new VisionTransformer(config);
        vit.Training = false;
        Inference.SessionModel.Shuffle(vit);
        Graph graph = vit.Trace();
        using var scope = new Scope();
        Tensor images = SmallNetworks.Images(3, 48, 21);
        Tensor[] calibration = [SmallNetworks.Images(8, 48, 22)];
        float[] expected = graph.Run(images).ToArray();
        PostTrainingResult result = PostTraining.Run(graph, calibration, new PostTrainingOptions { Attention = true });
        Assert.Contains("2 attentions with products of bytes", result.Notes);
        float[] rounded = graph.Run(images).ToArray(), fast = new float[rounded.Length];
        Assert.InRange(Cosine(expected, rounded), 0.98, 1);
        using var session = new Session(graph);
        session.Run(images.Span, 3, fast);
        Same(rounded, fast);
        string file = Path.Combine(folder.Path, "bytes.onnx");
        OnnxFile.Write(file, graph);
        Same(rounded, OnnxRuntime.Floats(OnnxRuntime.Run(file, images.Span, 3).Values.First()));
    }

    [Fact]
    public void AttentionThatIsTooNarrowStaysFloats()
    {
        using Model model = Create("vit-tiny-28", 28);
        Assert.Contains("leave Attention out", Assert.Throws<EspalierException>(() => PostTraining.Run(model.Graph,
            Calibration(model), new PostTrainingOptions { Attention = true })).Message);
        Assert.Contains("either", Assert.Throws<EspalierException>(() => PostTraining.Run(model.Graph, Calibration(model),
            new PostTrainingOptions { Attention = true, Probabilities = ProbabilityCoding.Log2 })).Message);
    }

    [Fact]
    public void ANetworkWithoutAttentionHasNoProbabilities()
    {
        using Model model = Create("resnet20", 16);
        Assert.Contains("no attention", Assert.Throws<EspalierException>(() => PostTraining.Run(model.Graph, Calibration(model),
            new PostTrainingOptions { Probabilities = ProbabilityCoding.Twin })).Message);
    }

    [Fact]
    public void SensitiveLayersStayFloatsForAWantedQuality()
    {
        using Model whole = Create("resnet20", 16);
        using var scope = new Scope();
        Tensor images = SmallNetworks.Images(8, 16, 18);
        float[] expected = whole.Graph.Run(images).ToArray();
        var options = new PostTrainingOptions { WeightBits = 2 };
        double plain = 0, least = 0.98;
        var (model, result) = MixedPrecision.Reach(() => Create("resnet20", 16), Calibration(whole), options, Quality, least);
        using (model)
        {
            Assert.True(plain < least, $"{plain} is reached by two bits everywhere");
            Assert.True(Quality(model) >= least);
            Assert.InRange(result.Floats.Count, 1, 19);
            Assert.NotEmpty(result.Layers);
        }
        Assert.Contains("is not reached", Assert.Throws<EspalierException>(() =>
            MixedPrecision.Reach(() => Create("resnet20", 16), Calibration(whole), options, Quality, 1.1)).Message);

        double Quality(Model rounded)
        {
            double q = Cosine(expected, rounded.Graph.Run(images).ToArray());
            if (plain == 0) plain = q;
            return q;
        }
    }

    [Fact]
    public void WhatCannotBeDoneIsOneLine()
    {
        using Model model = Create("resnet20", 16);
        Assert.Contains("no calibration images", Assert.Throws<EspalierException>(() => PostTraining.Run(model.Graph,
            [])).Message);
        PostTraining.Run(model.Graph, Calibration(model));
        Assert.Contains("already", Assert.Throws<EspalierException>(() => PostTraining.Run(model.Graph,
            Calibration(model))).Message);
        using Model floats = Create("resnet20", 16);
        HashSet<string> all = [.. floats.Graph.Nodes.Select(n => n.Name)];
        Assert.Contains("no convolution", Assert.Throws<EspalierException>(() =>
            PostTraining.Run(floats.Graph, Calibration(floats), new PostTrainingOptions { Floats = all })).Message);
    }

    internal static Model Create(string name, int size)
    {
        bool wide = name is "vgg11_bn" or "mobilenet_v2" or "shufflenet_v2_x1_0" or "resnet18";
        Model model = Model.Create(name, classes: 10, imageSize: size, width: name == "vgg11_bn" ? 0.25 : wide ? 0.5
            : 1).WithStatistics();
        // A transformer's head is of zeros at first.
        var rng = new Rng(8);
        foreach (var (_, weight) in model.Graph.Parameters)
            if (weight.Rank == 2 && weight.Span.IndexOfAnyExcept(0) < 0)
                foreach (ref float w in weight.Span) w = 0.1f * rng.NextNormal();
        return model;
    }

    internal static IEnumerable<Tensor> Calibration(Model model)
    {
        for (ulong i = 0; i < 2; i++)
        {
            using var scope = new Scope();
            yield return SmallNetworks.Images(16, model.ImageSize, 20 + i, model.Channels);
        }
    }

    internal static double Cosine(float[] a, float[] b) => System.Numerics.Tensors.TensorPrimitives.CosineSimilarity<float>(a, b);

    /// <summary>Codes that lie at an edge may be rounded to either side: a few steps of the outputs apart.</summary>
    private static void Same(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        float scale = expected.Max(MathF.Abs);
        Assert.InRange(Cosine(expected, actual), 0.9995, 1.0001);
        for (int i = 0; i < actual.Length; i++) Assert.Equal(expected[i], actual[i], 0.05f * scale);
    }
}
