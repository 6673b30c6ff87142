using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// softmax(q kᵀ · scale + bias) v of every head: q [N, t, columns], k and v [N, T, columns] -> [N, t, columns]. One operator in
/// newer opsets; else it is spelled out with MatMul and Softmax, patterns that runtimes know and fuse as far as they can. Heads
/// of unequal widths are written one by one.
/// </summary>
internal static class OnnxAttention
{
    private const int AttentionOpset = 23;

    public static string Write(OnnxCall call)
    {
        HeadLayout heads = HeadsOf(call);
        string q = Rows(call, 0), k = Rows(call, 1), v = Rows(call, 2);
        call.Rows = RowsOf(call, 0);
        float scale = call.Settings.Float("scale");
        if (RowsOf(call, 1).Ends is not null
            && ((AttentionOp)call.Node.Op).Mask != AttentionMask.Causal) throw OnnxRows.Unknown(call);
        string? hidden = Hidden(call);
        if (heads.IsUniform && hidden is null && !call.Has(3) && call.Opset >= AttentionOpset && CodesOf(call) is null
            && !OfBytes(call))
            return call.Result("Attention", [q, k, v], OnnxAttribute.Int("q_num_heads", heads.Count),
                OnnxAttribute.Int("kv_num_heads", heads.Count), OnnxAttribute.Float("scale", scale));
        if (heads.IsUniform)
        {
            (q, k, v) = (Split(call, q, "q", 0, 2, 1, 3), Split(call, k, "k", 0, 2, 3, 1), Split(call, v, "v", 0, 2, 1, 3));
            string all = Mixed(call, "", q, k, v, Bias(call, null), hidden);                                       // [N, H, t, d]
            string joined = call.Part("joined", "Transpose", [all], OnnxAttribute.Ints("perm", 0, 2, 1, 3));
            return call.Result("Reshape", [joined, call.Ints(0, 0, heads.ValueWidth)]);
        }
        string[] qs = Cut(call, q, "q", heads.QueryColumns), ks = Cut(call, k, "k", heads.QueryColumns);
        string[] vs = Cut(call, v, "v", heads.ValueColumns), mixed = new string[heads.Count];
        for (int n = 0; n < mixed.Length; n++)
        {
            string turned = call.Part($"k{n}.turned", "Transpose", [ks[n]], OnnxAttribute.Ints("perm", 0, 2, 1));
            mixed[n] = Mixed(call, $"{n}", qs[n], turned, vs[n], Bias(call, n), hidden);                            // [N, t, d]
        }
        return call.Result("Concat", mixed, OnnxAttribute.Int("axis", 2));
    }

    /// <summary>The mean over the heads of how one query shares its attention: q [N, columns], k [N, T, columns] ->
    /// [N, T].</summary>
    public static string OfClass(OnnxCall call)
    {
        HeadLayout heads = ((ClassAttentionOp)call.Node.Op).Heads;
        string k = call.Writer.Read(call.Operand(1), asTokens: true);
        string q = call.Part("q.row", "Unsqueeze", [call.Writer.Read(call.Operand(0), asTokens: false), call.Ints(1)]);
        call.Rows = call.Writer.RowsOf(call.Operand(1));
        string[] qs = Cut(call, q, "q", heads.QueryColumns), ks = Cut(call, k, "k", heads.QueryColumns);
        var shares = new string[heads.Count];
        for (int n = 0; n < shares.Length; n++)
        {
            string turned = call.Part($"k{n}.turned", "Transpose", [ks[n]], OnnxAttribute.Ints("perm", 0, 2, 1));
            string products = call.Part($"products{n}", "MatMul", [qs[n], turned]);                                 // [N, 1, T]
            string scores = call.Part($"scores{n}", "Mul", [products, call.Float(call.Settings.Float("scale"))]);
            shares[n] = call.Part($"shares{n}", "Softmax", [scores], OnnxAttribute.Int("axis", -1));
        }
        string all = call.Part("shares", "Concat", shares, OnnxAttribute.Int("axis", 1));
        return OnnxReductions.Part(call, "mean", "ReduceMean", all, [1], keep: false);
    }

    /// <summary>softmax(q k · scale + bias) v, without the keys that are hidden. A query that sees no key gives zeros.</summary>
    /// <param name="hidden">True where a query is not to see a key.</param>
    private static string Mixed(OnnxCall call, string head, string q, string k, string v, string? bias, string? hidden)
    {
        if (OfBytes(call)) return MixedBytes(call, head, q, k, v);
        string scores = call.Part("scores" + head, "Mul",
            [call.Part("products" + head, "MatMul", [q, k]), call.Float(call.Settings.Float("scale"))]);
        if (bias is not null) scores = call.Part("biased" + head, "Add", [scores, bias]);
        if (hidden is not null) scores = call.Part("seen" + head, "Where", [hidden, call.Float(float.MinValue), scores]);
        string shares = call.Part("softmax" + head, "Softmax", [scores], OnnxAttribute.Int("axis", -1));
        if (CodesOf(call) is { } codes) shares = Rounded(call, head, shares, codes);
        if (hidden is not null) shares = call.Part("shares" + head, "Where", [hidden, call.Float(0), shares]);
        return call.Part("mixed" + head, "MatMul", [shares, v]);
    }

    /// <summary>The same in products of whole numbers, which floats hold exactly.</summary>
    private static string MixedBytes(OnnxCall call, string head, string q, string k, string v)
    {
        (string queries, string queryScale) = Codes("q", q, -1);
        (string keys, string keyScale) = Codes("k", k, -2);
        (string values, string valueScale) = Codes("v", v, -2);
        string sums = Part("sums", "Mul", Part("scaled", "Mul", Part("products", "MatMul", queries, keys), queryScale), keyScale);
        string scores = Part("scores", "Mul", sums, call.Float(call.Settings.Float("scale")));
        string most = OnnxReductions.Part(call, "most" + head, "ReduceMax", scores, [-1], keep: true);
        string powers = Part("powers", "Exp", Part("below", "Sub", scores, most));
        string shares = Part("shares", "Round", Part("steps", "Mul", powers, call.Float(127)));
        string all = OnnxReductions.Part(call, "all" + head, "ReduceSum", shares, [-1], keep: true);
        string mixed = Part("mixed", "Mul", Part("weighted", "MatMul", shares, values), valueScale);
        return Part("mean", "Div", mixed, all);

        (string Codes, string Scale) Codes(string what, string x, long axis)
        {
            string sizes = Part($"{what}.abs", "Abs", x);
            string largest = OnnxReductions.Part(call, $"{what}.largest{head}", "ReduceMax", sizes, [axis], keep: true);
            string least = Part($"{what}.least", "Max", largest, call.Float(1e-30f));
            string scale = Part($"{what}.scale", "Div", least, call.Float(127));
            return (Part($"{what}.codes", "Round", Part($"{what}.steps", "Div", x, scale)), scale);
        }

        string Part(string what, string type, params string[] inputs) => call.Part(what + head, type, inputs);
    }

    private static bool OfBytes(OnnxCall call) => ((AttentionOp)call.Node.Op).Bytes;

    /// <summary>Probabilities in few bits: steps as pairs that runtimes fuse, powers spelled out.</summary>
    private static string Rounded(OnnxCall call, string head, string shares, ProbabilityCodes codes)
    {
        float step = 1f / codes.Largest, split = MathF.ScaleB(1, -codes.Split);
        if (codes.Coding == ProbabilityCoding.Uniform) return OnnxQuantised.Steps(call, "rounded" + head, shares, step);
        if (codes.Coding == ProbabilityCoding.Twin)
        {
            string coarse = OnnxQuantised.Steps(call, "coarse" + head, shares, step);
            string fine = OnnxQuantised.Steps(call, "fine" + head, shares, split / codes.Largest);
            string large = call.Part("large" + head, "Greater", [shares, call.Float(split)]);
            return call.Part("rounded" + head, "Where", [large, coarse, fine]);
        }
        // The natural logarithm of a step down.
        float octave = MathF.Log(2) * (codes.Coding == ProbabilityCoding.Log2 ? 1 : 0.5f);
        string steps = call.Part("steps" + head, "Mul", [call.Part("log" + head, "Log", [shares]), call.Float(-1 / octave)]);
        string code = call.Part("codes" + head, "Round", [steps]);
        string power = call.Part("power" + head, "Exp", [call.Part("down" + head, "Mul", [code, call.Float(-octave)])]);
        string coded = call.Part("coded" + head, "Less", [code, call.Float(codes.Largest)]);
        return call.Part("rounded" + head, "Where", [coded, power, call.Float(0)]);
    }

    private static ProbabilityCodes? CodesOf(OnnxCall call) => ((AttentionOp)call.Node.Op).Probabilities;

    /// <summary>[N, T, H·d] -> the axes N, T, H, d in another order.</summary>
    private static string Split(OnnxCall call, string x, string what, params long[] order)
    {
        string split = call.Part($"{what}.split", "Reshape", [x, call.Ints(0, 0, HeadsOf(call).Count, -1)]);
        return call.Part($"{what}.heads", "Transpose", [split], OnnxAttribute.Ints("perm", order));
    }

    /// <summary>[N, T, columns] -> [N, T, d] of each head.</summary>
    private static string[] Cut(OnnxCall call, string x, string what, ReadOnlySpan<int> columns)
    {
        var widths = new long[columns.Length - 1];
        for (int n = 0; n < widths.Length; n++) widths[n] = columns[n + 1] - columns[n];
        string[] names = [.. widths.Select((_, n) => call.Constants.Free($"{call.Name}.{what}{n}"))];
        call.Writer.File.Node("Split", $"{call.Name}.{what}.cut", names, [x, call.Ints(widths)], OnnxAttribute.Int("axis", 2));
        return names;
    }

    /// <summary>What is added to the scores: of each key, or of each pair of tokens and each head.</summary>
    /// <param name="head">Null for all heads at once.</param>
    private static string? Bias(OnnxCall call, int? head)
    {
        if (!call.Has(3)) return null;
        if (call.Writer.IsComputed(call.Operand(3))) return OfKeys(call, 3, head is null ? 4 : 3);
        Tensor all = call.Constants.Value(call.Operand(3));                                                      // [H, T, T]
        int tokens = all.Shape[1], heads = head is null ? all.Shape[0] : 1;
        float[] values = all.Span.Slice((head ?? 0) * tokens * tokens, heads * tokens * tokens).ToArray();
        long[] shape = head is null ? [1, heads, tokens, tokens] : [1, tokens, tokens];
        string bias = call.Constants.Floats($"{call.Name}.bias", shape, values);
        foreach (var (operand, axis) in new[] { (0, shape.Length - 2), (1, shape.Length - 1) })
        {
            OnnxRows rows = RowsOf(call, operand);
            if (rows.Tokens is { } list && list.Length == tokens) continue;
            bias = call.Part("bias.rows", "Gather", [bias, rows.List(call)], OnnxAttribute.Int("axis", axis));
        }
        return bias;
    }

    /// <summary>True where a query is not to see a key; null where all see all. [N, 1, 1, T] or [t, T], for one head without the
    /// 1.</summary>
    private static string? Hidden(OnnxCall call)
    {
        int rank = HeadsOf(call).IsUniform ? 4 : 3;
        string? masked = call.Has(4) ? call.Part("masked", "Equal", [OfKeys(call, 4, rank), call.Float(0)]) : null;
        if (((AttentionOp)call.Node.Op).Mask != AttentionMask.Causal) return masked;
        string queries = call.Part("tokens.q", "Unsqueeze", [RowsOf(call, 0).List(call), call.Ints(1)]);
        string keys = call.Part("tokens.k", "Unsqueeze", [RowsOf(call, 1).List(call), call.Ints(0)]);
        string later = call.Part("later", "Greater", [keys, queries]);
        return masked is null ? later : call.Part("hidden", "Or", [masked, later]);
    }

    /// <summary>A number for each key -> [N, 1, 1, T], or [N, 1, T].</summary>
    private static string OfKeys(OnnxCall call, int operand, int rank)
    {
        GraphValue x = call.Operand(operand);
        int? count = RowsOf(call, 1).Count;
        long[] shape = [count is null ? 1 : -1, .. Enumerable.Repeat(1L, rank - 2), count ?? -1];
        return call.Part($"of.keys{operand}", "Reshape", [call.Writer.Read(x, call.Writer.IsTokens(x)), call.Ints(shape)]);
    }

    private static HeadLayout HeadsOf(OnnxCall call) => ((AttentionOp)call.Node.Op).Heads;

    /// <summary>An operand as [N, T, columns], which one without a row set is.</summary>
    private static string Rows(OnnxCall call, int operand) =>
        call.Writer.Read(call.Operand(operand), asTokens: call.Shape(operand).Rank == 2);

    private static OnnxRows RowsOf(OnnxCall call, int operand) => call.Shape(operand).Rank == 2
        ? call.Writer.RowsOf(call.Operand(operand)) : OnnxRows.All(call.Shape(operand)[1]);
}
