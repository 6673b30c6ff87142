using Espalier.Formats.Onnx;

namespace Espalier.Models.Onnx;

/// <summary>
/// Writes a <see cref="VitBlock"/> into a graph. Attention and GELU are operators of newer opsets; for older ones they are
/// spelled out with MatMul, Softmax and Erf, patterns that runtimes know and fuse as far as they can.
/// </summary>
internal sealed class VitOnnxBlock(OnnxGraph graph, OnnxWeights weights, VitConfig config, OnnxLinear linear)
{
    private const int GeluOpset = 20, AttentionOpset = 23;

    private readonly long width = config.HiddenSize, heads = config.NumHeads, size = config.HiddenSize / config.NumHeads;

    /// <summary>The whole block: x [N, T, D] -> [N, T, D].</summary>
    public string Add(string name, string x)
    {
        string norm = Norm(name, "attention_norm", x);
        return Add(name, x, norm, norm);
    }

    /// <summary>
    /// The block for the first <paramref name="prefix"/> tokens of each image alone: x [N, T, D] -> [N, prefix, D]. Keys and
    /// values are of all tokens.
    /// </summary>
    public string Add(string name, string x, int prefix)
    {
        string norm = Norm(name, "attention_norm", x);
        return Add(name, First(name + ".first", x, prefix), norm, First(name + ".first_norm", norm, prefix));
    }

    public static string LayerNorm(OnnxGraph graph, OnnxWeights weights, string name, string parameters, string x) =>
        graph.Node("LayerNormalization", name,
            [x, weights.Constant(parameters + ".weight"), weights.Constant(parameters + ".bias")],
            OnnxAttribute.Int("axis", -1), OnnxAttribute.Float("epsilon", VisionTransformer.NormEpsilon));

    /// <param name="x">The tokens that the block is computed for.</param>
    /// <param name="norm">All tokens, normalised; <paramref name="queries"/> those of x.</param>
    private string Add(string name, string x, string norm, string queries)
    {
        string mixed = Attention(name + ".attn", Linear(name + ".attn.query", queries), Linear(name + ".attn.key", norm),
            Linear(name + ".attn.value", norm));
        string rows = graph.Node("Add", name + ".attn.residual", [x, Linear(name + ".attn.out", mixed)]);
        string hidden = Gelu(name + ".ffn.gelu", Linear(name + ".ffn.fc1", Norm(name, "ffn_norm", rows)));
        return graph.Node("Add", name + ".ffn.residual", [rows, Linear(name + ".ffn.fc2", hidden)]);
    }

    /// <summary>softmax(q kᵀ / sqrt(d)) v of every head: q [N, t, D], k and v [N, T, D] -> [N, t, D].</summary>
    private string Attention(string name, string q, string k, string v)
    {
        float scale = 1 / MathF.Sqrt(size);
        if (graph.Opset >= AttentionOpset)
            return graph.Node("Attention", name + ".mixed", [q, k, v], OnnxAttribute.Int("q_num_heads", heads),
                OnnxAttribute.Int("kv_num_heads", heads), OnnxAttribute.Float("scale", scale));
        string products = graph.Node("MatMul", name + ".products", [Heads(q, 0, 2, 1, 3), Heads(k, 0, 2, 3, 1)]);  // [N, H, t, T]
        string scores = graph.Node("Mul", name + ".scores", [products, graph.Floats("scale", [], scale)]);
        string shares = graph.Node("Softmax", name + ".softmax", [scores], OnnxAttribute.Int("axis", -1));
        string mixed = graph.Node("MatMul", name + ".mixed", [shares, Heads(v, 0, 2, 1, 3)]);                     // [N, H, t, d]
        string joined = graph.Node("Transpose", name + ".joined", [mixed], OnnxAttribute.Ints("perm", 0, 2, 1, 3));
        return graph.Node("Reshape", name + ".rows", [joined, graph.Integers("shape.joined", 0, 0, width)]);
    }

    /// <summary>[N, T, D] -> the axes N, T, H, d in another order.</summary>
    private string Heads(string x, params long[] order)
    {
        string split = graph.Node("Reshape", x + ".split", [x, graph.Integers("shape.heads", 0, 0, heads, size)]);
        return graph.Node("Transpose", x + ".heads", [split], OnnxAttribute.Ints("perm", order));
    }

    /// <summary>The first <paramref name="prefix"/> tokens of each image.</summary>
    private string First(string name, string x, int prefix) => graph.Node("Slice", name,
        [x, graph.Integers("first.start", 0), graph.Integers("first.end", prefix), graph.Integers("first.axis", 1)]);

    /// <summary>x/2 (1 + erf(x / sqrt 2)).</summary>
    private string Gelu(string name, string x)
    {
        if (graph.Opset >= GeluOpset) return graph.Node("Gelu", name, [x]);
        string erf = graph.Node("Erf", name + ".erf",
            [graph.Node("Div", name + ".div", [x, graph.Floats("sqrt2", [], MathF.Sqrt(2))])]);
        string sum = graph.Node("Add", name + ".sum", [erf, graph.Floats("one", [], 1)]);
        return graph.Node("Mul", name, [graph.Node("Mul", name + ".product", [x, sum]), graph.Floats("half", [], 0.5f)]);
    }

    private string Norm(string name, string layer, string x) =>
        LayerNorm(graph, weights, $"{name}.{layer}", $"{name}.{layer}", x);

    private string Linear(string name, string x) => linear.Add(graph, weights, name, x);
}
