using Espalier.Formats.Onnx;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Onnx;

/// <summary>Operators that this library does not write, or not so, and those of newer opsets: read, they give what ONNX Runtime
/// gives, for another number of images than the reader looks at.</summary>
public sealed class OnnxNodeTests : IDisposable
{
    private const int Images = 4;

    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    private static readonly long[] Map = [3, 8, 6], Volume = [2, 5, 6, 4], Tokens = [5, 16], Heads = [4, 5, 8];

    /// <summary>What is done with x: the shape of an image, the opset, and the node or nodes.</summary>
    private static readonly Dictionary<string, (long[] Shape, int Opset, Func<OnnxGraph, string> Make)> Cases = new()
    {
        ["oblong maximum"] = (Map, 17, n =>
            Node(n, "MaxPool", I("kernel_shape", 3, 2), I("strides", 2, 1), I("pads", 1, 0, 1, 1))),
        ["dilated maximum"] = (Map, 17, n =>
            Node(n, "MaxPool", I("kernel_shape", 3, 3), I("dilations", 2, 2), I("pads", 1, 1, 1, 1))),
        ["maximum of a volume"] = (Volume, 17, n =>
            Node(n, "MaxPool", I("kernel_shape", 2, 3, 2), I("strides", 2, 2, 1), I("pads", 0, 1, 0, 1, 1, 1))),
        ["oblong mean"] = (Map, 17, n => Node(n, "AveragePool", I("kernel_shape", 2, 3), I("pads", 1, 0, 0, 1))),
        ["oblong mean with its border"] = (Map, 17, n =>
            Node(n, "AveragePool", I("kernel_shape", 2, 3), I("pads", 1, 0, 0, 1), A("count_include_pad", 1))),
        ["mean of a volume"] = (Volume, 17, n => Node(n, "AveragePool", I("kernel_shape", 2, 2, 2), I("strides", 1, 2, 2))),
        ["mean of a line with its border"] = ([3, 9], 17, n =>
            Node(n, "AveragePool", I("kernel_shape", 3), I("pads", 1, 1), A("count_include_pad", 1))),
        ["dilated mean"] = (Map, 19, n => Node(n, "AveragePool", I("kernel_shape", 2, 2), I("dilations", 2, 2))),
        ["convolution of a volume"] = (Volume, 17, n =>
            Conv(n, "Conv", [4, 2, 3, 3, 2], I("strides", 2, 1, 1), I("pads", 1, 1, 0, 1, 0, 1))),
        ["grouped, dilated convolution of a volume"] = (Volume, 17, n =>
            Conv(n, "Conv", [4, 1, 2, 2, 2], A("group", 2), I("dilations", 2, 1, 1))),
        ["transposed convolution of a volume"] = (Volume, 17, n =>
            Conv(n, "ConvTranspose", [2, 4, 2, 3, 2], I("strides", 2, 1, 2), I("pads", 0, 1, 0, 1, 0, 0))),
        ["largest"] = (Map, 17, n => Two(n, "TopK", 3, A("axis", 2))),
        ["smallest"] = (Map, 17, n => Two(n, "TopK", 8, A("axis", -2), A("largest", 0))),
        ["places of the largest"] = (Map, 17, n => Whole(n, Two(n, "TopK", 2, second: true))),
        ["diagonal"] = ([3, 4, 4], 17, n => Node(n, "Einsum", T("equation", "...ii->...i"))),
        ["trace"] = ([3, 4, 4], 17, n => Node(n, "Einsum", T("equation", "ncii->nc"))),
        ["ellipsis"] = ([3, 4, 5], 17, n => n.Node("Einsum", "y", ["x", W(n, "w", 6, 5)], T("equation", "...i,oi->...o"))),
        ["cut out"] = (Map, 17, n =>
            n.Node("Resize", "y", ["x", Roi(n), W(n, "scales", [1, 1, 0.625f, 1.17f], 4)], T("mode", "linear"),
            T("coordinate_transformation_mode", "tf_crop_and_resize"), F("extrapolation_value", 3))),
        ["points"] = (Map, 17, n => n.Node("GridSample", "y", ["x", Grid(n)], T("mode", "bilinear"))),
        ["nearest points, aligned"] = (Map, 17, n =>
            n.Node("GridSample", "y", ["x", Grid(n)], T("mode", "nearest"), A("align_corners", 1))),
        ["points, border"] = (Map, 17, n =>
            n.Node("GridSample", "y", ["x", Grid(n)], T("mode", "bilinear"), T("padding_mode", "border"))),
        ["points, mirrored"] = (Map, 17, n =>
            n.Node("GridSample", "y", ["x", Grid(n)], T("mode", "bilinear"), T("padding_mode", "reflection"))),
        ["cubic points"] = (Map, 20, n => n.Node("GridSample", "y", ["x", Grid(n)], T("mode", "cubic"))),
        ["layer norm"] = (Tokens, 17, n =>
            n.Node("LayerNormalization", "y", ["x", W(n, "g", 16), W(n, "b", 16)], F("epsilon", 0.1f))),
        ["layer norm of two axes"] = (Map, 17, n => n.Node("LayerNormalization", "y", ["x", W(n, "g", 8, 6)], A("axis", 2))),
        ["group norm by groups"] = ([6, 4, 3], 18, n =>
            n.Node("GroupNormalization", "y", ["x", W(n, "g", 2), W(n, "b", 2)], A("num_groups", 2))),
        ["group norm by channels"] = ([6, 4, 3], 21, n =>
            n.Node("GroupNormalization", "y", ["x", W(n, "g", 6), W(n, "b", 6)], A("num_groups", 2))),
        ["GELU"] = (Tokens, 20, n => Node(n, "Gelu")),
        ["GELU by tanh"] = (Tokens, 20, n => Node(n, "Gelu", T("approximate", "tanh"))),
        ["Mish"] = (Tokens, 18, n => Node(n, "Mish")),
        ["Swish"] = (Tokens, 24, n => Node(n, "Swish", F("alpha", 1.5f))),
        ["mean of axes"] = (Map, 18, n => n.Node("ReduceMean", "y", ["x", L(n, "axes", 2, -1)], A("keepdims", 0))),
        ["largest of axes"] = (Map, 18, n => n.Node("ReduceMax", "y", ["x", L(n, "axes", -2)])),
        ["length along axes"] = (Map, 18, n => n.Node("ReduceL2", "y", ["x", L(n, "axes", 1)], A("keepdims", 0))),
        ["no axes"] = (Map, 18, n => n.Node("ReduceSum", "y", ["x"], A("noop_with_empty_axes", 1))),
        ["unequal parts"] = (Map, 18, n => n.Node("Split", "part", ["a", "b", "y"], ["x"], A("axis", 2), A("num_outputs", 3))[2]),
        ["smoothed"] = (Map, 18, n =>
            n.Node("Resize", "y", ["x", "", "", L(n, "sizes", 4, 3)], T("mode", "linear"), A("antialias", 1), I("axes", 2, 3))),
        ["smoothed by cubes"] = (Map, 19, n =>
            n.Node("Resize", "y", ["x", "", "", L(n, "sizes", 5, 4)], T("mode", "cubic"), A("antialias", 1), I("axes", 2, 3))),
        ["smoothed, without its border"] = (Map, 18, n =>
            n.Node("Resize", "y", ["x", "", "", L(n, "sizes", 4, 4)], T("mode", "linear"), A("antialias", 1),
            I("axes", 2, 3), A("exclude_outside", 1))),
        ["symmetric half pixels"] = (Map, 19, n =>
            n.Node("Resize", "y", ["x", "", W(n, "s", [1, 1, 1.3f, 0.7f], 4)], T("mode", "linear"),
            T("coordinate_transformation_mode", "half_pixel_symmetric"))),
        ["borders of axes"] = (Map, 18, n => n.Node("Pad", "y", ["x", L(n, "pads", 1, 2, 0, 1), "", L(n, "axes", -1, 2)])),
        ["wrapped borders"] = (Map, 19, n =>
            n.Node("Pad", "y", ["x", L(n, "pads", 2, 1, 0, 3), "", L(n, "axes", 2, 3)], T("mode", "wrap"))),
        ["RMS norm"] = (Tokens, 23, n => n.Node("RMSNormalization", "y", ["x", W(n, "g", 16)], F("epsilon", 0.1f))),
        ["attention"] = (Tokens, 23, n => n.Node("Attention", "y", ["x", "x", "x"], A("q_num_heads", 2), A("kv_num_heads", 2))),
        ["causal attention of heads"] = (Heads, 23, n =>
            n.Node("Attention", "y", ["x", "x", "x"], A("is_causal", 1), F("scale", 0.7f))),
        ["shared heads"] = (Heads, 23, n => n.Node("Attention", "y", ["x", Half(n, "k"), Half(n, "v")])),
        ["attention of pairs"] = (Tokens, 23, n =>
            n.Node("Attention", "y", ["x", "x", "x", W(n, "pairs", 5, 5)], A("q_num_heads", 2), A("kv_num_heads", 2))),
        ["masked attention"] = (Tokens, 23, n => n.Node("Attention", "y", ["x", "x", "x",
            n.Node("Greater", "pairs", [
                W(n, "numbers", [.. Enumerable.Range(0, 25).Select(i => i % 6 == 0 ? 1f : i % 5 - 2)], 5, 5), W(n, "zero", [0], 1)])],
            A("q_num_heads", 2), A("kv_num_heads", 2))),
        ["rotary positions"] = (Heads, 23, n =>
            n.Node("RotaryEmbedding", "y", ["x", W(n, "cos", 9, 4), W(n, "sin", 9, 4), Ids(n)])),
        ["part of rotary positions"] = (Heads, 23, n =>
            n.Node("RotaryEmbedding", "y", ["x", W(n, "cos", 9, 2), W(n, "sin", 9, 2), Ids(n)], A("rotary_embedding_dim", 4))),
        ["woven rotary positions"] = (Tokens, 23, n =>
            n.Node("RotaryEmbedding", "y", ["x", W(n, "cos", 9, 4), W(n, "sin", 9, 4), Ids(n)],
            A("interleaved", 1), A("num_heads", 2))),
    };

    public static TheoryData<string> Names => [.. Cases.Keys];

    [Theory, MemberData(nameof(Names))]
    public void OnnxRuntimeGivesTheSame(string name)
    {
        var (shape, opset, make) = Cases[name];
        string path = Write(shape, opset, make, ["N"]);
        using var scope = new Scope();
        var (graph, _, _) = OnnxImport.Read(path);
        // Written again with the shape that was found, which the runtime compares with its own.
        Write(shape, opset, make, ["N", .. graph.Outputs[0].Shape.ToArray()[1..].Select(n => $"{n}")]);
        var images = Tensor.Zeros(new Shape([Images, .. shape.Select(n => (int)n)]));
        var rng = new Rng(7);
        foreach (ref float v in images.Span) v = 2 * rng.NextNormal();
        float[] expected = OnnxRuntime.Run(path, new() { ["x"] = ([Images, .. shape], images.ToArray()) }).Values.Single();
        float[] actual = graph.Run([images])[0].ToArray();
        Assert.Equal(expected.Length, actual.Length);
        float largest = expected.Max(MathF.Abs);
        for (int i = 0; i < expected.Length; i++)
            Assert.True(Math.Abs(expected[i] - actual[i]) <= 2e-5f * largest, $"{i}: {actual[i]} for {expected[i]}");
    }

    [Theory]
    [InlineData("y' (GridSample): its operand 1", "GridSample")]
    [InlineData("y' (TopK): it takes 65 of 80 entries", "TopK")]
    [InlineData("y' (Attention): its softcap", "Attention")]
    [InlineData("y' (Bernoulli): is not read", "Bernoulli")]
    public void WhatIsNotReadNamesNodeAndOperator(string what, string op)
    {
        string path = Write([80, 2, 2], 23, net => op switch
        {
            "GridSample" => net.Node(op, "y", ["x", "x"]),
            "TopK" => Two(net, op, 65, A("axis", 1)),
            "Attention" => net.Node(op, "y", ["x", "x", "x"], F("softcap", 1)),
            _ => net.Node(op, "y", ["x"]),
        }, ["N"]);
        string message = Assert.Throws<EspalierException>(() => OnnxImport.Read(path)).Message;
        Assert.Contains(what, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    private string Write(long[] shape, int opset, Func<OnnxGraph, string> make, IReadOnlyList<string> output)
    {
        var net = new OnnxGraph("net", opset);
        net.Inputs.Add(new OnnxValue("x", OnnxType.Float, ["N", .. shape.Select(n => $"{n}")]));
        string y = make(net);
        net.Outputs.Add(new OnnxValue(y, OnnxType.Float, output));
        string path = Path.Combine(folder.Path, "net.onnx");
        new OnnxModel(net, []).Write(path);
        return path;
    }

    private static string Node(OnnxGraph net, string op, params OnnxAttribute[] attributes) =>
        net.Node(op, "y", ["x"], attributes);

    private static string Conv(OnnxGraph net, string op, int[] weight, params OnnxAttribute[] attributes) =>
        net.Node(op, "y", ["x", W(net, "w", weight), W(net, "b", 4)], attributes);

    private static string Two(OnnxGraph net, string op, long k, params OnnxAttribute[] attributes) =>
        Two(net, op, k, second: false, attributes);

    private static string Two(OnnxGraph net, string op, long k, bool second, params OnnxAttribute[] attributes) =>
        net.Node(op, "y", second ? ["most", "y"] : ["y", "places"], ["x", L(net, "k", k)], attributes)[second ? 1 : 0];

    /// <summary>Whole numbers as floats.</summary>
    private static string Whole(OnnxGraph net, string x) => net.Node("Cast", "whole", [x], A("to", 1));

    /// <summary>Every second head.</summary>
    private static string Half(OnnxGraph net, string name) =>
        net.Node("Gather", name, ["x", L(net, $"{name}.heads", 0, 2)], A("axis", 1));

    /// <summary>Nine points inside, at the edge of and beside a map, the same for every image of a batch of any size.</summary>
    private static string Grid(OnnxGraph net)
    {
        float[] points = [-1, -1, 1, 1, 0.3f, -0.2f, -1.2f, 0.1f, 0.96f, 1.3f, -0.6f, 0.7f, 2.4f, -2.2f, 0, 0, 0.55f, -0.97f];
        string one = W(net, "points", points, 1, 3, 3, 2);
        string images = net.Node("Shape", "images", ["x"], A("start", 0), A("end", 1));
        return net.Node("Expand", "grid", [one, net.Node("Concat", "grids", [images, L(net, "rest", 3, 3, 2)], A("axis", 0))]);
    }

    /// <summary>From 0.2 to 1.1 of the rows, from -0.1 to 0.8 of the columns.</summary>
    private static string Roi(OnnxGraph net) => W(net, "roi", [0, 0, 0.2f, -0.1f, 1, 1, 1.1f, 0.8f], 8);

    /// <summary>Places of five tokens, for any number of images.</summary>
    private static string Ids(OnnxGraph net)
    {
        string images = net.Node("Shape", "images", ["x"], A("start", 0), A("end", 1));
        string shape = net.Node("Concat", "all", [images, L(net, "five", 5)], A("axis", 0));
        return net.Node("Expand", "ids", [L(net, "places", 0, 3, 1, 8, 2), shape]);
    }

    private static string W(OnnxGraph net, string name, params int[] shape)
    {
        var rng = new Rng((ulong)name[0]);
        float[] values = [.. Enumerable.Range(0, shape.Aggregate(1, (a, n) => a * n)).Select(_ => rng.NextNormal())];
        return W(net, name, values, [.. shape.Select(n => (long)n)]);
    }

    private static string W(OnnxGraph net, string name, float[] values, params long[] shape) =>
        net.Constant(OnnxTensor.Of(name, shape, values));

    private static string L(OnnxGraph net, string name, params long[] values) =>
        net.Constant(OnnxTensor.Of(name, [values.Length], values));

    private static OnnxAttribute I(string name, params long[] values) => OnnxAttribute.Ints(name, values);

    private static OnnxAttribute A(string name, long value) => OnnxAttribute.Int(name, value);

    private static OnnxAttribute T(string name, string value) => OnnxAttribute.Text(name, value);

    private static OnnxAttribute F(string name, float value) => OnnxAttribute.Float(name, value);
}
