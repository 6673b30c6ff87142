using Espalier.Formats.Onnx;
using Espalier.Onnx;
using Espalier.Quantization;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Quantization;

/// <summary>The form of our files of few bits is the one that ONNX Runtime computes in integers: what it makes of them is read
/// from the file that it writes of the network it is about to run.</summary>
public sealed class RuntimeFusionTests : IDisposable
{
    /// <summary>Its layers of integers.</summary>
    private static readonly string[] Integers = ["QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat"];

    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("resnet20", 16, "QLinearConv QGemm QLinearAdd")]
    [InlineData("vgg11_bn", 32, "QLinearConv QGemm")]
    [InlineData("mobilenet_v2", 32, "QLinearConv QGemm QLinearAdd")]
    [InlineData("vit-tiny-28", 28, "MatMulIntegerToFloat")]
    public void RoundedLayersBecomeIntegers(string name, int size, string fused)
    {
        using Model model = PostTrainingTests.Create(name, size);
        PostTrainingResult result = PostTraining.Run(model.Graph, PostTrainingTests.Calibration(model));
        string file = Path.Combine(folder.Path, "model.onnx"), optimised = Path.Combine(folder.Path, "optimised.onnx");
        model.ExportOnnx(file);
        OnnxRuntime.Optimise(file, optimised);
        OnnxSource made = OnnxSourceReader.Read(ProtoSource.Of(File.ReadAllBytes(optimised)));
        Assert.Equal(result.Layers.Count, Count(Integers));
        Assert.Equal(result.Floats.Count, Count("Conv", "Gemm"));
        Assert.All(fused.Split(' '), op => Assert.True(Count(op) > 0, op));
        // No weight and no bias is made a float again.
        Assert.DoesNotContain(made.Nodes, n => n.Operator == "DequantizeLinear" && made.Initialisers.ContainsKey(n.Inputs[0]));

        int Count(params string[] operators) => made.Nodes.Count(n => operators.Contains(n.Operator));
    }
}
