using Espalier.Formats.Onnx;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Onnx;

/// <summary>Standard operators in forms that few exporters write, beside ONNX Runtime.</summary>
public sealed class OnnxOddNodesTests : IDisposable
{
    private static readonly OnnxTensor Scale = OnnxTensor.Of("scale", [], [0.04f]), Coarse = OnnxTensor.Of("coarse", [], [0.11f]),
        Two = OnnxTensor.Of("two", [], [2L]), Three = OnnxTensor.Of("three", [], [3L]),
        Ones = OnnxTensor.Of("ones", [6], [1f, 1, 1, 1, 1, 1]), Zeros = OnnxTensor.Of("zeros", [6], new float[6]),
        Codes = new("codes", OnnxType.Int8, [6, 6], s => s.Write([.. Enumerable.Range(0, 36).Select(i => (byte)(7 * i - 120))])),
        Half = new("half", OnnxType.Float16, [10, 6], s =>
        {
            for (int i = 0; i < 60; i++) s.Write(BitConverter.GetBytes((Half)(0.1f * (i - 17))));
        });

    private static readonly Dictionary<string, (OnnxTensor[] Constants, OnnxNode[] Nodes)> Cases = new()
    {
        // Without a zero point the type of the codes is an attribute.
        ["signed codes"] = ([Scale], [new("QuantizeLinear", "q", ["x", "scale"], ["q"], [OnnxAttribute.Int("output_dtype", 3)]),
            new("DequantizeLinear", "y", ["q", "scale"], ["y"], [])]),
        // 3 / 2 is 1.5 where both are cast to floats before.
        ["constants like a value"] = ([Two, Three], [new("CastLike", "a", ["three", "x"], ["a"], []), new("CastLike", "b", ["two", "x"], ["b"], []),
            new("Div", "c", ["a", "b"], ["c"], []), new("Mul", "y", ["x", "c"], ["y"], [])]),
        // 10 times the float 0.7 is 7.
        ["a length by a scale"] = ([OnnxTensor.Of("less", [], [0.7f])], [
            new("Shape", "front", ["x"], ["front"], [OnnxAttribute.Int("end", 2)]), new("Shape", "s", ["x"], ["s"], [OnnxAttribute.Int("start", 2)]),
            new("Cast", "f", ["s"], ["f"], [OnnxAttribute.Int("to", 1)]), new("Mul", "m", ["f", "less"], ["m"], []),
            new("Floor", "l", ["m"], ["l"], []), new("Cast", "i", ["l"], ["i"], [OnnxAttribute.Int("to", 7)]),
            new("Concat", "sizes", ["front", "i"], ["sizes"], [OnnxAttribute.Int("axis", 0)]), new("Resize", "y", ["x", "", "", "sizes"], ["y"],
            [OnnxAttribute.Text("mode", "nearest"), OnnxAttribute.Text("coordinate_transformation_mode", "asymmetric"),
                OnnxAttribute.Text("nearest_mode", "floor")])]),
        ["codes by two scales"] = ([Scale, Coarse, Codes], [new("DequantizeLinear", "v", ["codes", "scale"], ["v"], []),
            new("DequantizeLinear", "w", ["codes", "coarse"], ["w"], []), new("GlobalAveragePool", "p", ["x"], ["p"], []),
            new("Flatten", "f", ["p"], ["f"], []), new("MatMul", "a", ["f", "v"], ["a"], []), new("MatMul", "b", ["f", "w"], ["b"], []),
            new("Mul", "y", ["a", "b"], ["y"], [])]),
    };

    private readonly TempFolder folder = new();

    public static TheoryData<string> Names => [.. Cases.Keys];

    private string Path => System.IO.Path.Combine(folder.Path, "net.onnx");

    public void Dispose() => folder.Dispose();

    [Theory, MemberData(nameof(Names))]
    public void They_give_what_the_runtime_gives(string name)
    {
        Write(Cases[name].Constants, rank: name == "codes by two scales" ? 2 : 4, Cases[name].Nodes);
        using var scope = new Scope();
        Tensor x = OddTransformer.Values(new Shape(4, 6, 10, 10));
        float[] expected = OnnxRuntime.Run(Path, new() { ["x"] = ([4, 6, 10, 10], x.ToArray()) }).Values.Single();
        float[] actual = OnnxImport.Read(Path).Graph.Run([x])[0].ToArray();
        Assert.Equal(expected.Length, actual.Length);
        float largest = expected.Max(MathF.Abs);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 2e-5f * largest);
    }

    /// <summary>Tools write equal constants once: what follows the images in training must not be what is trained.</summary>
    [Fact]
    public void Statistics_are_no_weights()
    {
        Write([Ones, Zeros], 4, new OnnxNode("BatchNormalization", "y", ["x", "ones", "zeros", "zeros", "ones"], ["y"], []));
        GraphNode norm = OnnxImport.Read(Path).Graph.Nodes.Single(n => n.Op is BatchNorm2dOp);
        Assert.Equal("ones True, zeros True, zeros.statistic.y.3 False, ones.statistic.y.4 False",
            string.Join(", ", norm.Operands.Skip(1).Select(o => $"{o!.Name} {o.Tensor.RequiresGrad}")));
        Assert.Equal(4, norm.Operands.Skip(1).Select(o => o!.Tensor).Distinct().Count());
    }

    [Fact]
    public void Weights_of_half_width_are_trained()
    {
        Write([Half], 4, new OnnxNode("Cast", "w", ["half"], ["w"], [OnnxAttribute.Int("to", 1)]),
            new OnnxNode("MatMul", "y", ["x", "w"], ["y"], []));
        Assert.Single(OnnxImport.Read(Path).Graph.Parameters);
    }

    [Theory]
    [InlineData("Gather")]
    [InlineData("GatherElements")]
    [InlineData("GatherND")]
    [InlineData("CumSum")]
    [InlineData("Expand")]
    [InlineData("Tile")]
    public void What_is_missing_is_one_line(string op)
    {
        Write([], 4, new OnnxNode(op, "y", ["x"], ["y"], []));
        string message = Assert.Throws<EspalierException>(() => OnnxImport.Read(Path)).Message;
        Assert.Contains($"({op}): its operand 1 is missing", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    private void Write(OnnxTensor[] constants, int rank, params OnnxNode[] nodes) => StrangersFile.Write(Path, 10, 21,
        [new("x", OnnxType.Float, ["N", "6", "10", "10"])], new("y", OnnxType.Float, [.. Enumerable.Range(0, rank).Select(i => $"d{i}")]), constants, [.. nodes.Select(n => ("", n))]);
}
