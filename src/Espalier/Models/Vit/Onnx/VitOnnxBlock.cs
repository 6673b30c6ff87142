using Espalier.Formats.Onnx;

namespace Espalier.Models.Onnx;

/// <summary>
/// Writes a <see cref="VitBlock"/> into a graph. GELU is spelled out with Erf and attention with MatMul and Softmax: runtimes
/// know these patterns and fuse them, and every version of them can run them.
/// </summary>
internal sealed class VitOnnxBlock(OnnxGraph graph, OnnxWeights weights, VitConfig config, OnnxLinear linear)
{
    private readonly long width = config.HiddenSize, heads = config.NumHeads, size = config.HiddenSize / config.NumHeads;

    /// <summary>The whole block.</summary>
    public OnnxRows Add(string name, OnnxRows x) => Add(name, x, x, Norm(name, "attention_norm", x.Name), null);

    /// <summary>The block for the first <paramref name="prefix"/> tokens of each image alone; keys and values are of all.</summary>
    public OnnxRows Add(string name, OnnxRows x, int prefix)
    {
        string norm = Norm(name, "attention_norm", x.Name);
        OnnxRows first = First(name + ".first", x, prefix);
        return Add(name, x, first, norm, First(name + ".first_norm", x with { Name = norm }, prefix).Name);
    }

    public static string LayerNorm(OnnxGraph graph, OnnxWeights weights, string name, string parameters, string x) =>
        graph.Node("LayerNormalization", name,
            [x, weights.Constant(parameters + ".weight"), weights.Constant(parameters + ".bias")],
            OnnxAttribute.Int("axis", -1), OnnxAttribute.Float("epsilon", VisionTransformer.NormEpsilon));

    /// <param name="x">All rows.</param>
    /// <param name="y">Those that the block is computed for.</param>
    /// <param name="norm">All rows, normalised; <paramref name="queries"/> those of y, where y is not all.</param>
    private OnnxRows Add(string name, OnnxRows x, OnnxRows y, string norm, string? queries)
    {
        string attention = Attention(name + ".attn", x with { Name = norm }, y with { Name = queries ?? norm });
        string rows = graph.Node("Add", name + ".attn.residual", [y.Name, Linear(name + ".attn.out", attention)]);
        string hidden = Gelu(name + ".ffn.gelu", Linear(name + ".ffn.fc1", Norm(name, "ffn_norm", rows)));
        return y with { Name = graph.Node("Add", name + ".ffn.residual", [rows, Linear(name + ".ffn.fc2", hidden)]) };
    }

    /// <summary>softmax(q kᵀ / sqrt(d)) v of every head: [rows of y, D].</summary>
    private string Attention(string name, OnnxRows x, OnnxRows y)
    {
        string q = Heads(name + ".query", y with { Name = Linear(name + ".query", y.Name) }, 0, 2, 1, 3);    // [N, H, t, d]
        string k = Heads(name + ".key", x with { Name = Linear(name + ".key", x.Name) }, 0, 2, 3, 1);        // [N, H, d, T]
        string v = Heads(name + ".value", x with { Name = Linear(name + ".value", x.Name) }, 0, 2, 1, 3);    // [N, H, T, d]
        string scores = graph.Node("Mul", name + ".scores", [graph.Node("MatMul", name + ".products", [q, k]),
            graph.Floats("scale", [], 1 / MathF.Sqrt(size))]);
        string shares = graph.Node("Softmax", name + ".softmax", [scores], OnnxAttribute.Int("axis", -1));
        string mixed = graph.Node("MatMul", name + ".mixed", [shares, v]);
        string joined = graph.Node("Transpose", name + ".joined", [mixed], OnnxAttribute.Ints("perm", 0, 2, 1, 3));
        return graph.Node("Reshape", name + ".rows", [joined, graph.Integers("shape.rows", -1, width)]);
    }

    private string Heads(string name, OnnxRows rows, params long[] order)
    {
        string split = graph.Node("Reshape", name + ".split", [rows.Name, Shape(rows, heads, size)]);
        return graph.Node("Transpose", name + ".heads", [split], OnnxAttribute.Ints("perm", order));
    }

    /// <summary>Rows of the first <paramref name="prefix"/> tokens of each image.</summary>
    private OnnxRows First(string name, OnnxRows x, int prefix)
    {
        string images = graph.Node("Reshape", name + ".images", [x.Name, Shape(x, width)]);
        string first = graph.Node("Slice", name + ".tokens", [images, graph.Integers("first.start", 0),
            graph.Integers("first.end", prefix), graph.Integers("first.axis", 1)]);
        return new OnnxRows(graph.Node("Reshape", name, [first, graph.Integers("shape.rows", -1, width)]), prefix);
    }

    private string Shape(OnnxRows rows, params ReadOnlySpan<long> rest)
    {
        long[] shape = rows.Split(rest);
        return graph.Integers("shape." + string.Join('x', shape), shape);
    }

    /// <summary>x/2 (1 + erf(x / sqrt 2)).</summary>
    private string Gelu(string name, string x)
    {
        string erf = graph.Node("Erf", name + ".erf",
            [graph.Node("Div", name + ".div", [x, graph.Floats("sqrt2", [], MathF.Sqrt(2))])]);
        string sum = graph.Node("Add", name + ".sum", [erf, graph.Floats("one", [], 1)]);
        return graph.Node("Mul", name, [graph.Node("Mul", name + ".product", [x, sum]), graph.Floats("half", [], 0.5f)]);
    }

    private string Norm(string name, string layer, string x) =>
        LayerNorm(graph, weights, $"{name}.{layer}", $"{name}.{layer}", x);

    private string Linear(string name, string x) => linear.Add(graph, weights, name, x);
}
