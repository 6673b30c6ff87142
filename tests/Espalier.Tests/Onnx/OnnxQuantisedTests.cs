using Espalier.Formats;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Quantization;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Onnx;

/// <summary>Files with QuantizeLinear and DequantizeLinear as PyTorch's own quantiser writes them
/// (tests/goldens/make_quantised.py): read
/// as values and weights of few bits, they give what PyTorch's integer kernels give, and run on codes.</summary>
[Collection("Workers")]
public sealed class OnnxQuantisedTests : IDisposable
{
    private static readonly string Files = Path.Combine(AppContext.BaseDirectory, "Goldens", "OnnxQuantised");

    private readonly TempFolder folder = new();
    private readonly Checkpoint golden = CheckpointFile.Read(Path.Combine(Files, "values.safetensors"));

    public void Dispose() => folder.Dispose();

    /// <summary>A scale for a weight, and one for each channel.</summary>
    [Theory]
    [InlineData("tensor")]
    [InlineData("channel")]
    public void GivesWhatPyTorchGives(string name)
    {
        using Model model = Model.Open(Path.Combine(Files, name + ".onnx"));
        using var scope = new Scope();
        QuantisedValue[] values = [.. QuantisedValue.Of(model.Graph)];
        Assert.Equal(3, values.Count(v => v.IsWeight));
        Assert.DoesNotContain(model.Graph.Nodes, n => n.Op is ElementOp { Function: ElementFunction.Round });
        float[] x = golden[$"{name}/in"].Data, expected = golden[$"{name}/out"].Data;
        Tensor images = Tensor.From(new Shape(6, 3, 8, 8), x);
        float step = values.Last(v => !v.IsWeight).Scale.Span[0];
        Near(expected, model.Graph.Run(images).ToArray(), step);
        Near(expected, Run(model), step);

        string saved = Path.Combine(folder.Path, "model.safetensors"), written = Path.Combine(folder.Path, "model.onnx");
        model.Save(saved);
        using Model read = Model.Open(saved);
        Assert.Equal(model.Graph.Run(images).ToArray(), read.Graph.Run(images).ToArray());
        read.ExportOnnx(written);
        Near(expected, OnnxRuntime.Floats(OnnxRuntime.Run(written, x, 6)["logits"]), step);
        string[] families = [.. Plan.ShapeOf(model.Graph, Precision.Fp32, null).Layers.Select(l => l.Family)];
        Assert.Equal(3, families.Count(f => f.StartsWith("codes convolution", StringComparison.Ordinal)));

        float[] Run(Model of)
        {
            using Session session = of.Session();
            var actual = new float[expected.Length];
            session.Run(x, 6, actual);
            return actual;
        }
    }

    /// <summary>A file in the form of ONNX Runtime's own quantiser: all layers run on codes, and answers are its own.</summary>
    [Fact]
    public void AFileOfOnnxRuntimesQuantiserRunsOnCodes()
    {
        string file = Path.Combine(folder.Path, "ort.onnx");
        OrtQuantisedNet.Write(file, 10);
        using Model model = Model.Open(file);
        using var scope = new Scope();
        var images = new Tensor(new Shape(64, 3, 12, 12));
        var rng = new Rng(3);
        foreach (ref float v in images.Span) v = rng.NextNormal();
        float[] expected = OnnxRuntime.Floats(OnnxRuntime.Run(file, images.Span, 64)["logits"]), actual = new float[expected.Length];
        string[] families = [.. Plan.ShapeOf(model.Graph, Precision.Fp32, null).Layers.Select(l => l.Family)];
        Assert.Equal(4, families.Count(f => f.StartsWith("codes convolution", StringComparison.Ordinal)));
        using Session session = model.Session();
        session.Run(images.Span, 64, actual);
        float step = QuantisedValue.Of(model.Graph).Last(v => !v.IsWeight).Scale.Span[0];
        int near = expected.Zip(actual).Count(p => MathF.Abs(p.First - p.Second) < 1.01f * step);
        Assert.True(near >= 0.999 * expected.Length, $"{near} of {expected.Length} are within a step");
        Assert.True(expected.Distinct().Count() > 20);
    }

    /// <summary>Training for few bits leaves weights as floats, with QuantizeLinear behind them.</summary>
    [Fact]
    public void FloatsThatAreRoundedAsTheNetworkRunsAreWeightsOfCodes()
    {
        using Model model = Model.Open(Path.Combine(Files, "fake.onnx"));
        Assert.Equal(3, QuantisedValue.Of(model.Graph).Count(v => v.IsWeight));
    }

    /// <summary>At most a step of the last rounding apart.</summary>
    private static void Near(float[] expected, float[] actual, float step)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < actual.Length; i++) Assert.Equal(expected[i], actual[i], 1.01f * step);
    }
}
