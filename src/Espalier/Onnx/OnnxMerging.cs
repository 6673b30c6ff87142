using Espalier.Formats.Onnx;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Onnx;

/// <summary>Token merging, of images that all have as many rows.</summary>
internal static class OnnxMerging
{
    // Below any likeness, which is a cosine.
    private const float Unlike = -4;

    /// <summary>Operand keys [N, T, columns] -> [N, T]: the place of each row among those that are left.</summary>
    public static string Match(OnnxCall call)
    {
        var op = (MatchRowsOp)call.Node.Op;
        OnnxRows rows = call.Rows = call.Writer.RowsOf(call.Operand(0));
        int tokens = rows.Count ?? throw OnnxRows.Unknown(call), merged = tokens - RowMatching.Left(tokens, op.Count, op.Prefix);
        int[] a = [.. Enumerable.Range(0, tokens).Where(i => i % 2 == 0)];
        int[] b = [.. Enumerable.Range(0, tokens).Where(i => i % 2 == 1)];
        // Where rows of B go, and rows of A that stay: in front, or so many behind the first.
        int open = a.Count(i => i >= op.Prefix) - merged;
        float[] placesOfB =
            [.. b.Select(i => (float)(i < op.Prefix ? i : op.Prefix + open + b.Count(j => j >= op.Prefix && j < i)))];
        string x = call.Writer.Read(call.Operand(0), asTokens: true);
        if (merged == 0)
        {
            string zero = OnnxReductions.Part(call, "zero", "ReduceSum", call.Part("zeros", "Sub", [x, x]), [2], keep: false);
            float[] stay = [.. a.Select(i => (float)(i < op.Prefix ? i : op.Prefix + a.Count(j => j >= op.Prefix && j < i)))];
            float[] places = [.. Enumerable.Range(0, tokens).Select(i => i % 2 == 0 ? stay[i / 2] : placesOfB[i / 2])];
            return call.Result("Add", [zero, Row(call, "places", places)]);
        }
        string metric = Metric(call, op, x);
        string turned = call.Part("b.turned", "Transpose", [Every(call, metric, "b", 1)], OnnxAttribute.Ints("perm", 0, 2, 1));
        // [N, rows of A, rows of B]
        string likeness = call.Part("likeness", "MatMul", [Every(call, metric, "a", 0), turned]);
        if (op.Prefix > 1) likeness = call.Part("allowed", "Add", [likeness, Row(call, "hidden.b", Hidden(b, op.Prefix))]);
        string best = OnnxReductions.Part(call, "best", "ReduceMax", likeness, [2], keep: false);
        string match = call.Part("match", "ArgMax", [likeness], OnnxAttribute.Int("axis", 2), OnnxAttribute.Int("keepdims", 0));
        if (op.Prefix > 0) best = call.Part("best.allowed", "Add", [best, Row(call, "hidden.a", Hidden(a, op.Prefix))]);
        var (top, chosen) = call.TopK("top", "merged", best, call.Ints(merged), largest: true);
        string none = call.Part("none", "Sub", [best, best]);
        string ones = call.Part("ones", "Add", [call.Part("no", "Sub", [top, top]), call.Float(1)]);
        // 1 of each row of A that is merged.
        string goes = call.Part("goes", "ScatterElements", [none, chosen, ones], OnnxAttribute.Int("axis", 1));
        string stays = call.Part("stays", "Sub", [Row(call, "open", [.. a.Select(i => i >= op.Prefix ? 1f : 0)]), goes]);
        string order = call.Part("order", "CumSum", [stays, call.Constants.Int(1)]);
        // The first of those that stay has the number 1; those in front have 0.
        string first = Row(call, "first", [.. a.Select(i => i >= op.Prefix ? op.Prefix - 1f : i)]);
        string ofStaying = call.Part("places.staying", "Add", [order, first]);
        string table = call.Constants.Floats($"{call.Name}.places.b", [b.Length], placesOfB);
        string ofMerged = call.Part("places.merged", "Gather", [table, match]);
        string isMerged = call.Part("isMerged", "Greater", [goes, call.Float(0.5f)]);
        string placesA = call.Part("places.a", "Where", [isMerged, ofMerged, ofStaying]);
        string column = call.Slice("zero", none, 0, 1, 1);
        string placesB = call.Part("places.rows.b", "Add", [column, Row(call, "row.b", placesOfB)]);
        string apart = call.Part("apart", "Concat", [placesA, placesB], OnnxAttribute.Int("axis", 1));
        long[] turns = [.. Enumerable.Range(0, tokens).Select(i => (long)(i % 2 == 0 ? i / 2 : a.Length + i / 2))];
        return call.Result("Gather", [apart, call.Constants.Ints($"{call.Name}.turns", turns)], OnnxAttribute.Int("axis", 1));
    }

    /// <summary>Operands x [N, T, ..], plan [N, T] and perhaps weights [N, T] -> [N, K, ..]: a product with the matrix of which
    /// row goes where.</summary>
    public static string Merge(OnnxCall call)
    {
        var op = (MergeRowsOp)call.Node.Op;
        OnnxRows rows = call.Writer.RowsOf(call.Operand(0));
        int left = RowMatching.Left(rows.Count ?? throw OnnxRows.Unknown(call), op.Count, op.Prefix);
        if (call.Shape(0).Rank > 2)
            throw new EspalierException($"MergeRows: '{call.Node.Name}' merges rows of rank {call.Shape(0).Rank}; "
            + "such a network cannot be written as ONNX");
        call.Rows = new OnnxRows(left, null, Math.Min(op.Prefix, rows.Prefix));
        string x = call.Writer.Read(call.Operand(0), asTokens: true), plan = call.Writer.Read(call.Operand(1), asTokens: true);
        string goes = call.Writer.Once($"goes {plan} {left}", () =>
        {
            string each = call.Part("plan.row", "Unsqueeze", [plan, call.Ints(1)]);
            float[] all = [.. Enumerable.Range(0, left).Select(p => (float)p)];
            string equal = call.Part("equal", "Equal", [each, call.Constants.Floats($"{call.Name}.places", [1, left, 1], all)]);
            return call.Part("goes", "Cast", [equal], OnnxAttribute.Int("to", (long)OnnxType.Float));
        });
        if (call.Shape(0).Rank == 1)
        {
            string column = call.Part("column", "Unsqueeze", [x, call.Ints(2)]);
            string sums = call.Part("sums", "MatMul", [goes, column]);
            if (op.Mean) sums = call.Part("means", "Div", [sums, Sizes(call, goes)]);
            return call.Result("Squeeze", [sums, call.Ints(2)]);
        }
        if (!op.Mean) return call.Result("MatMul", [goes, x]);
        if (!call.Has(2)) return call.Result("Div", [call.Part("sums", "MatMul", [goes, x]), Sizes(call, goes)]);
        string weights = call.Part("weights", "Unsqueeze", [call.Writer.Read(call.Operand(2), asTokens: true), call.Ints(2)]);
        string weighted = call.Part("weighted", "MatMul", [goes, call.Part("products", "Mul", [x, weights])]);
        return call.Result("Div", [weighted, call.Part("weight", "MatMul", [goes, weights])]);
    }

    private static string Sizes(OnnxCall call, string goes) =>
        OnnxReductions.Part(call, "sizes", "ReduceSum", goes, [2], keep: true);

    /// <summary>[N, T, d]: what rows are compared by, of length 1.</summary>
    private static string Metric(OnnxCall call, MatchRowsOp op, string x)
    {
        if (op.Means is { Count: > 1 } heads)
        {
            string split = call.Part("split", "Reshape", [x, call.Ints(0, 0, heads.Count, heads.Width)]);
            x = OnnxReductions.Part(call, "mean", "ReduceMean", split, [2], keep: false);
        }
        string squares = OnnxReductions.Part(call, "squares", "ReduceSum", call.Part("square", "Mul", [x, x]), [2], keep: true);
        string norm = call.Part("norm", "Max", [call.Part("length", "Sqrt", [squares]), call.Float(1e-30f)]);
        return call.Part("metric", "Div", [x, norm]);
    }

    private static string Every(OnnxCall call, string x, string what, long start) => call.Part(what, "Slice",
        [x, call.Ints(start), call.Ints(long.MaxValue), call.Ints(1), call.Ints(2)]);

    private static float[] Hidden(int[] rows, int prefix) => [.. rows.Select(i => i < prefix ? 2 * Unlike : 0)];

    private static string Row(OnnxCall call, string what, float[] values) =>
        call.Constants.Floats($"{call.Name}.{what}", [1, values.Length], values);
}
