using Espalier.Formats.Onnx;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Onnx;

/// <summary>Operators of ONNX Runtime's own give what it gives or are refused, and files of before 2019 have one input.</summary>
public sealed class OnnxStrangersTests : IDisposable
{
    private readonly TempFolder folder = new();

    private string Path => System.IO.Path.Combine(folder.Path, "net.onnx");

    public void Dispose() => folder.Dispose();

    private static readonly Dictionary<string, OnnxNode[]> Cases = new()
    {
        ["GELU"] = [Node("Gelu", ["x"])],
        ["GELU behind a bias"] = [Node("BiasGelu", ["x", "b"])],
        ["fast GELU"] = [Node("FastGelu", ["x"])],
        ["fast GELU behind a bias"] = [Node("FastGelu", ["x", "b"])],
        ["quick GELU"] = [Node("QuickGelu", ["x"])],
        ["quick GELU of a slope"] = [Node("QuickGelu", ["x"], OnnxAttribute.Float("alpha", 1.3f))],
        ["product"] = [Node("FusedMatMul", ["x", "w"], OnnxAttribute.Float("alpha", 0.5f))],
        ["product with a turned weight"] = [Node("FusedMatMul", ["x", "v"], OnnxAttribute.Int("transB", 1))],
        ["scores"] = [Node("FusedMatMul", ["x", "x"], OnnxAttribute.Int("transB", 1), OnnxAttribute.Float("alpha", 0.25f))],
        ["turned product"] = [Node("FusedMatMul", ["x", "x"], OnnxAttribute.Int("transA", 1))],
        ["codes"] = [new("QuantizeLinear", "codes", ["x", "scale", "zero"], ["codes"], []),
            Node("DequantizeLinear", ["codes", "scale", "zero"])],
    };

    public static TheoryData<string> Names => [.. Cases.Keys];

    [Theory, MemberData(nameof(Names))]
    public void OnnxRuntimesOwnOperatorsGiveWhatItGives(string name)
    {
        Write(Cases[name]);
        using var scope = new Scope();
        Tensor x = OddTransformer.Values(new Shape(4, 5, 16));
        float[] expected = OnnxRuntime.Run(Path, new() { ["x"] = ([4, 5, 16], x.ToArray()) }).Values.Single();
        float[] actual = OnnxImport.Read(Path).Graph.Run([x])[0].ToArray();
        Assert.Equal(expected.Length, actual.Length);
        float largest = expected.Max(MathF.Abs);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 2e-5f * largest);
    }

    /// <summary>Also of those whose name ONNX has, and of constants alone.</summary>
    [Theory]
    [InlineData("Attention", "x", "v", "b")]
    [InlineData("LayerNormalization", "x", "b", "b")]
    [InlineData("SkipLayerNormalization", "x", "x", "b", "b")]
    [InlineData("MultiHeadAttention", "x", "x", "x")]
    [InlineData("Add", "x", "b")]
    [InlineData("Trilu", "w")]
    [InlineData("Constant")]
    public void AllOthersAreRefusedInOneLine(string op, params string[] inputs)
    {
        Write(Node(op, inputs));
        string message = Assert.Throws<EspalierException>(() => OnnxImport.Read(Path)).Message;
        Assert.Contains($"node 'y' (com.microsoft.{op}): is not read", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void ConstantsThatOldFilesNameAsInputsAreWeights()
    {
        OnnxTensor weight = Tensor("conv.weight", 4, 3, 3, 3), bias = Tensor("conv.bias", 4);
        StrangersFile.Write(Path, 3, 7, [new("images", OnnxType.Float, ["N", "3", "8", "8"]),
            new("conv.weight", OnnxType.Float, ["4", "3", "3", "3"]), new("conv.bias", OnnxType.Float, ["4"])],
            new("maps", OnnxType.Float, ["N", "4", "6", "6"]), [weight, bias],
            ("", new OnnxNode("Conv", "conv", ["images", "conv.weight", "conv.bias"], ["conv"], [])),
            ("", new OnnxNode("Relu", "relu", ["conv"], ["maps"], [])));
        using Model model = Model.Open(Path);
        using var scope = new Scope();
        Assert.Equal("images", Assert.Single(model.Graph.Inputs).Name);
        Assert.Equal(["conv.bias", "conv.weight"], model.Graph.Parameters.Select(p => p.Name).Order(StringComparer.Ordinal));
        Tensor images = OddTransformer.Values(new Shape(2, 3, 8, 8));
        float[] expected = OnnxRuntime.Run(Path, new() { ["images"] = ([2, 3, 8, 8], images.ToArray()) })["maps"];
        float[] actual = model.Graph.Run(images).ToArray();
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-5f);
    }

    private static OnnxNode Node(string op, string[] inputs, params OnnxAttribute[] attributes) =>
        new(op, "y", inputs, ["y"], attributes);

    /// <summary>With those of the constants that a node reads: the runtime complains of others.</summary>
    private void Write(params OnnxNode[] nodes)
    {
        OnnxTensor[] constants = [Tensor("w", 16, 8), Tensor("v", 8, 16), Tensor("b", 16), OnnxTensor.Of("scale", [], [0.04f]),
            new OnnxTensor("zero", OnnxType.UInt8, [], s => s.WriteByte(120))];
        StrangersFile.Write(Path, 8, 17, [new("x", OnnxType.Float, ["N", "5", "16"])],
            new("y", OnnxType.Float, ["N", "A", "B"]), [.. constants.Where(c => nodes.Any(n => n.Inputs.Contains(c.Name)))],
            [.. nodes.Select(n => ("com.microsoft", n))]);
    }

    private static OnnxTensor Tensor(string name, params int[] shape)
    {
        var rng = new Rng((ulong)name.Length);
        float[] values = [.. Enumerable.Range(0, shape.Aggregate(1, (a, n) => a * n)).Select(_ => rng.NextNormal())];
        return OnnxTensor.Of(name, [.. shape.Select(n => (long)n)], values);
    }
}
