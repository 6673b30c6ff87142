using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Quantization;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;
using Espalier.Tests.Inference;

namespace Espalier.Tests.Quantization;

/// <summary>Sessions of rounded networks compute in integers what the graph computes in floats, and what ONNX Runtime makes of
/// the file.
/// </summary>
[Collection("Workers")]
public sealed class QuantisedSessionTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [MemberData(nameof(PostTrainingTests.Networks), MemberType = typeof(PostTrainingTests))]
    public void ASessionGivesWhatTheGraphGives(string name, int size)
    {
        using Model model = PostTrainingTests.Create(name, size);
        using var scope = new Scope();
        PostTraining.Run(model.Graph, PostTrainingTests.Calibration(model));
        using Session session = model.Session();
        foreach (int batch in new[] { 1, 5 })
        {
            Tensor images = SmallNetworks.Images(batch, size, 15, model.Channels);
            float[] expected = model.Graph.Run(images).ToArray(), actual = new float[expected.Length];
            session.Run(images.Span, batch, actual);
            Assert.InRange(PostTrainingTests.Cosine(expected, actual), 0.9995, 1.0001);
        }
    }

    /// <summary>Codes stay codes only as long as whoever reads them takes them: a pooling beside a convolution whose result is joined
    /// with other floats, and channels that are not a multiple of four behind a flattening.</summary>
    [Theory]
    [InlineData("pooling that is joined")]
    [InlineData("flattening of 30 channels")]
    public void CodesEndWhereNobodyTakesThem(string name)
    {
        var net = new GraphNet();
        Graph graph = net.Trace(x =>
        {
            Tensor maps = Codes(F.Relu(Conv(Codes(x), "a", name.StartsWith('p') ? 8 : 30, 1)));
            if (name.StartsWith('f'))
                return Linear(Codes(F.Relu(Linear(Codes(F.Flatten(maps)), "b", 12))), "c", 5);
            Tensor narrower = F.Relu(Conv(maps, "b", 8, 2)), pooled = Codes(F.MaxPool2d(maps, 3, 2, 1));
            return net.Linear(F.GlobalAvgPool2d(F.Concat(1, narrower, pooled)), "head", 5);
        }, 2, 3, 8, 8);
        // Biases become whole numbers of the sums' units, so that a number near the middle of two codes may be either.
        GraphNet.AssertSame(graph, tolerance: 0.05);

        Tensor Conv(Tensor x, string layer, int outputs, int stride) => F.Conv2d(x,
            WeightCodes(net[$"{layer}.weight", outputs, x.Shape[1], 3, 3]), net[$"{layer}.bias", outputs], stride, 1);
        Tensor Linear(Tensor x, string layer, int outputs) =>
            F.Linear(x, WeightCodes(net[$"{layer}.weight", outputs, x.Shape[1]]), net[$"{layer}.bias", outputs]);
        Tensor Codes(Tensor x) => F.Quantise(x, Step("step", 0.03f), Step("zero", 110), 0, 255);
        Tensor WeightCodes(Tensor weight) => F.Quantise(weight, Step("weight step", 0.01f), null, -127, 127);
        Tensor Step(string weight, float value)
        {
            Tensor step = net[weight, 1];
            step.Fill(value);
            return step;
        }
    }

    /// <summary>Codes of convolutional networks are ONNX Runtime's, bit for bit, also where a number lies half-way between two: of the
    /// last value that is rounded, and of two before it, in whatever place of the network they are.</summary>
    [Theory]
    [InlineData("resnet20", 16)]
    [InlineData("mobilenet_v2", 32)]
    [InlineData("vgg11_bn", 32)]
    [InlineData("densenet40", 16)]
    [InlineData("shufflenet_v2_x1_0", 32)]
    public void CodesAreThoseOfOnnxRuntime(string name, int size)
    {
        using Model model = PostTrainingTests.Create(name, size);
        using var scope = new Scope();
        PostTrainingResult result = PostTraining.Run(model.Graph, PostTrainingTests.Calibration(model));
        QuantisedValue[] values = [.. result.Values.Where(v => !v.IsWeight)];
        foreach (QuantisedValue value in new[] { values[^1], values[^3], values[(values.Length / 2) - 1] })
        {
            var (own, runtime) = Both(model, value, 64);
            Assert.Equal(0, own.Zip(runtime).Count(v => MathF.Abs(v.First - v.Second) > 0.5f * value.Scale.Span[0]));
            Assert.True(own.Distinct().Count() > 20);
        }
    }

    /// <summary>Between a transformer's products are norms and attention in floats, which differ in the last bit; a number half-way
    /// between two codes may go up here and down there for it, and what comes of it spreads in its image.</summary>
    [Fact]
    public void CodesOfATransformerAreNearlyThoseOfOnnxRuntime()
    {
        const int Count = 16;
        using Model model = PostTrainingTests.Create("vit-tiny-28", 28);
        using var scope = new Scope();
        QuantisedValue last = PostTraining.Run(model.Graph, PostTrainingTests.Calibration(model)).Values.Last(v => !v.IsWeight);
        var (own, runtime) = Both(model, last, Count);
        bool[] apart = [.. own.Zip(runtime, (x, y) => MathF.Abs(x - y) >= 1.01f * last.Scale.Span[0])];
        Assert.InRange(apart.Count(x => x), 0, 0.001 * own.Length);
        Assert.True(own.Distinct().Count() > 20);
    }

    /// <summary>A value of some images by a session, and by ONNX Runtime from a file.</summary>
    private (float[] Own, float[] Runtime) Both(Model model, QuantisedValue value, int count)
    {
        Graph part = model.Graph.Between(model.Graph.Inputs, [value.Node.Output]);
        string file = Path.Combine(folder.Path, "part.onnx");
        OnnxFile.Write(file, part);
        Tensor images = SmallNetworks.Images(count, model.ImageSize, 16, model.Channels);
        float[] runtime = OnnxRuntime.Floats(OnnxRuntime.Run(file, images.Span, count)["logits"]), own = new float[runtime.Length];
        using var session = new Session(part);
        session.Run(images.Span, count, own);
        return (own, runtime);
    }

    [Theory]
    [InlineData("resnet18", 32, 0)]
    [InlineData("mobilenet_v2", 32, 0)]
    [InlineData("vgg11_bn", 32, 0)]
    [InlineData("vit-tiny-28", 28, 2)]
    public void LayersRunOnCodes(string name, int size, int floats)
    {
        using Model model = PostTrainingTests.Create(name, size);
        PostTrainingResult result = PostTraining.Run(model.Graph, PostTrainingTests.Calibration(model));
        PlanShape shape = Plan.ShapeOf(model.Graph, Precision.Fp32, null);
        string[] families = [.. shape.Layers.Select(l => l.Family)];
        int codes = families.Count(f => f.Contains("codes", StringComparison.Ordinal));
        string[] others = [.. families.Where(f => !f.Contains("codes", StringComparison.Ordinal)
            && (f.Contains("convolution", StringComparison.Ordinal) || f.StartsWith("product", StringComparison.Ordinal)))];
        Assert.Equal(floats, result.Floats.Count);
        if (floats == 0) Assert.Empty(others);
        else
        {
            // The projection of patches; and of the class token alone the classifier and what reads its row behind the rounding.
            string[] rows = [.. others.Where(f => !f.StartsWith("convolution", StringComparison.Ordinal))];
            Assert.Equal(others.Length - 1, rows.Length);
            Assert.NotEmpty(rows);
            Assert.All(rows, f => Assert.Equal("product Fp32 1 rows", f));
        }
        Assert.True(codes > 5, string.Join("; ", families));
        // Between the image and the features nothing is converted.
        if (floats == 0)
        {
            Assert.Equal(1, families.Count(f => f.StartsWith(nameof(QuantiseLayer), StringComparison.Ordinal)
                && !f.EndsWith(" 1x1", StringComparison.Ordinal)));
            Assert.DoesNotContain(families, f => f.StartsWith(nameof(DequantiseLayer), StringComparison.Ordinal)
                || f.StartsWith(nameof(SumLayer), StringComparison.Ordinal));
        }
        using Session session = model.Session();
        Assert.InRange(session.WeightBytes, 1, floats == 0 ? 2.2 * model.ParameterCount : 3.5 * model.ParameterCount);
        Assert.NotEmpty(result.Layers);
    }

    /// <summary>A file that ONNX Runtime's quantiser would have written, read again, runs on codes.</summary>
    [Fact]
    public void AFileOfOnnxRunsOnCodes()
    {
        using Model model = PostTrainingTests.Create("resnet20", 16);
        using var scope = new Scope();
        PostTraining.Run(model.Graph, PostTrainingTests.Calibration(model));
        string file = Path.Combine(folder.Path, "model.onnx");
        model.ExportOnnx(file);
        using Model read = Model.Open(file);
        string[] families = [.. Plan.ShapeOf(read.Graph, Precision.Fp32, null).Layers.Select(l => l.Family)];
        Assert.True(families.Count(f => f.StartsWith("codes", StringComparison.Ordinal)) > 15, string.Join("; ", families));
        using Session session = read.Session();
        Tensor images = SmallNetworks.Images(3, 16, 17);
        float[] expected = model.Graph.Run(images).ToArray(), actual = new float[expected.Length];
        session.Run(images.Span, 3, actual);
        Assert.InRange(PostTrainingTests.Cosine(expected, actual), 0.9995, 1.0001);
    }
}
