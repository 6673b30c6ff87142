using Espalier.Formats.Onnx;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Onnx;

/// <summary>Ops that exporters spell out in several ways are one op, which gives what ONNX Runtime gives for the file.</summary>
public sealed class OnnxPatternTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>What the graph's ops are, and what is done with x, [N, 5, 16].</summary>
    private static readonly Dictionary<string, (string Ops, Action<OnnxGraph> Make)> Cases = new()
    {
        ["ReLU6 as two"] = ("Clamp", n => n.Node("Clip", "y", [n.Node("Relu", "r", ["x"]), W(n, "0", 0), W(n, "6", 6)])),
        ["cut below one"] = ("Clamp", n => n.Node("Clip", "y", [n.Node("Relu", "r", ["x"]), W(n, "1", 1), W(n, "2", 2)])),
        ["cut below zero stays"] = ("Clamp Relu", n =>
            n.Node("Clip", "y", [n.Node("Relu", "r", ["x"]), W(n, "-1", -1), W(n, "1", 1)])),
        ["hard-swish"] = ("Element", n => n.Node("Div", "y", [n.Node("Mul", "m", ["x", Relu6(n)]), W(n, "six", 6)])),
        ["hard-swish, divided before"] = ("Element", n =>
            n.Node("Mul", "y", ["x", n.Node("Div", "d", [Relu6(n), W(n, "six", 6)])])),
        ["hard-swish, by a sixth"] = ("Element", n =>
            n.Node("Mul", "y", [n.Node("Mul", "d", [Relu6(n), W(n, "sixth", 1 / 6f)]), "x"])),
        ["hard-swish, clamped"] = ("Element", n =>
            n.Node("Mul", "y", ["x", n.Node("Div", "d", [Relu6(n, relu: false), W(n, "six", 6)])])),
        ["gate of another slope"] = ("Affine Affine Clamp Mul", n =>
            n.Node("Mul", "y", ["x", n.Node("Div", "d", [Relu6(n), W(n, "five", 5)])])),
        ["layer norm"] = ("LayerNorm", n => Scaled(n, n.Node("Div", "n", [Centred(n), Root(n)]))),
        ["layer norm by the reciprocal"] = ("LayerNorm", n =>
            Scaled(n, n.Node("Mul", "n", [Centred(n), n.Node("Reciprocal", "i", [Root(n)])]))),
        ["layer norm by one by the root"] = ("LayerNorm", n =>
            Scaled(n, n.Node("Mul", "n", [n.Node("Div", "i", [W(n, "one", 1), Root(n)]), Centred(n)]))),
        ["layer norm by a power"] = ("LayerNorm", n =>
            Scaled(n, n.Node("Mul", "n", [Centred(n), n.Node("Pow", "i", [Shifted(n), W(n, "p", -0.5f)])]))),
        ["layer norm without weights"] = ("LayerNorm", n => n.Node("Div", "y", [Centred(n), Root(n)])),
        ["layer norm by the reciprocal, without weights"] = ("LayerNorm", n =>
            n.Node("Mul", "y", [Centred(n), n.Node("Reciprocal", "i", [Root(n)])])),
        ["layer norm with a shift only"] = ("LayerNorm", n =>
            n.Node("Add", "y", [n.Node("Div", "n", [Centred(n), Root(n)]), V(n, "b")])),
        ["attention by views"] = ("Attention Linear Linear Linear", n => Attention(n, bias: false)),
        ["attention by views, of pairs"] = ("Attention Linear Linear Linear", n => Attention(n, bias: true)),
    };

    public static TheoryData<string> Names => [.. Cases.Keys];

    [Theory, MemberData(nameof(Names))]
    public void IsOneOp(string name)
    {
        var (ops, make) = Cases[name];
        var net = new OnnxGraph("net", 17);
        net.Inputs.Add(new OnnxValue("x", OnnxType.Float, ["N", "5", "16"]));
        make(net);
        net.Outputs.Add(new OnnxValue("y", OnnxType.Float, ["N", "5", "16"]));
        string path = Path.Combine(folder.Path, "net.onnx");
        new OnnxModel(net, []).Write(path);
        using var scope = new Scope();
        Graph graph = OnnxImport.Read(path).Graph;
        Assert.Equal(ops, string.Join(' ', graph.Nodes.Select(n => n.Op.Name).Order(StringComparer.Ordinal)));
        Assert.Equal("y", Assert.Single(graph.Outputs).Name);
        var x = Tensor.Zeros(new Shape(4, 5, 16));
        var rng = new Rng(7);
        foreach (ref float v in x.Span) v = 4 * rng.NextNormal();
        float[] expected = OnnxRuntime.Run(path, new() { ["x"] = ([4, 5, 16], x.ToArray()) }).Values.Single();
        float[] actual = graph.Run([x])[0].ToArray();
        Assert.Equal(expected.Length, actual.Length);
        float largest = expected.Max(MathF.Abs);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 2e-5f * largest);
    }

    private static string Relu6(OnnxGraph net, bool relu = true)
    {
        string shifted = net.Node("Add", "shifted", ["x", W(net, "three", 3)]);
        if (relu) shifted = net.Node("Relu", "relu", [shifted]);
        return net.Node("Clip", "clip", [shifted, W(net, "low", 0), W(net, "high", 6)]);
    }

    private static string Centred(OnnxGraph net) => net.Node("Sub", "centred", ["x",
        net.Node("ReduceMean", "mean", ["x"], OnnxAttribute.Ints("axes", -1))]);

    /// <summary>The variance and a little; exporters write the difference twice or once.</summary>
    private static string Shifted(OnnxGraph net)
    {
        string difference = net.Node("Sub", "difference", ["x",
            net.Node("ReduceMean", "middle", ["x"], OnnxAttribute.Ints("axes", -1))]);
        string squares = net.Node("Mul", "squares", [difference, difference]);
        string variance = net.Node("ReduceMean", "variance", [squares], OnnxAttribute.Ints("axes", -1));
        return net.Node("Add", "more", [variance, W(net, "epsilon", 1e-3f)]);
    }

    private static string Root(OnnxGraph net) => net.Node("Sqrt", "root", [Shifted(net)]);

    private static string Scaled(OnnxGraph net, string x) =>
        net.Node("Add", "y", [net.Node("Mul", "scaled", [x, V(net, "g")]), V(net, "b")]);

    /// <summary>Two heads, as batches of matrices whose scores are laid by images and heads for the softmax.</summary>
    private static void Attention(OnnxGraph net, bool bias)
    {
        string q = Heads(net, "q"), k = net.Node("Transpose", "kt", [Heads(net, "k")], OnnxAttribute.Ints("perm", 0, 2, 1));
        string scores = net.Node("Reshape", "scores", [net.Node("MatMul", "qk", [q, k]), L(net, "apart", -1, 2, 5, 5)]);
        scores = net.Node("Mul", "scaled", [scores, W(net, "scale", 0.35f)]);
        if (bias) scores = net.Node("Add", "biased", [scores, Random(net, "pairs", 1, 2, 5, 5)]);
        string shares = net.Node("Softmax", "shares", [scores], OnnxAttribute.Int("axis", -1));
        string flat = net.Node("Reshape", "flat", [shares, L(net, "matrices", -1, 5, 5)]);
        string mixed = net.Node("MatMul", "mixed", [flat, Heads(net, "v")]);
        string turned = net.Node("Transpose", "turned", [net.Node("Reshape", "heads", [mixed, L(net, "four", -1, 2, 5, 8)])],
            OnnxAttribute.Ints("perm", 0, 2, 1, 3));
        net.Node("Reshape", "y", [turned, L(net, "joined", -1, 5, 16)]);
    }

    /// <summary>[N 2, 5, 8].</summary>
    private static string Heads(OnnxGraph net, string name)
    {
        string rows = net.Node("MatMul", name, ["x", Random(net, $"{name}.weight", 16, 16)]);
        string apart = net.Node("Reshape", $"{name}.apart", [rows, L(net, $"{name}.four", -1, 5, 2, 8)]);
        string turned = net.Node("Transpose", $"{name}.turned", [apart], OnnxAttribute.Ints("perm", 0, 2, 1, 3));
        return net.Node("Reshape", $"{name}.heads", [turned, L(net, $"{name}.three", -1, 5, 8)]);
    }

    private static string V(OnnxGraph net, string name) => Random(net, name, 16);

    private static string Random(OnnxGraph net, string name, params int[] shape)
    {
        var rng = new Rng((ulong)name[0]);
        float[] values = [.. Enumerable.Range(0, shape.Aggregate(1, (a, n) => a * n)).Select(_ => 0.3f * rng.NextNormal())];
        return net.Constant(OnnxTensor.Of(name, [.. shape.Select(n => (long)n)], values));
    }

    private static string W(OnnxGraph net, string name, float value) => net.Constant(OnnxTensor.Of(name, [], new[] { value }));

    private static string L(OnnxGraph net, string name, params long[] values) =>
        net.Constant(OnnxTensor.Of(name, [values.Length], values));
}
