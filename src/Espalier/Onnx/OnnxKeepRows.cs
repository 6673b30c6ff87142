using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Decisions on which token rows stay: those that go are gone, so that every later operator has less to do. Where all images
/// keep as many, a file is for any number of them; else for one.
/// </summary>
internal static class OnnxKeepRows
{
    /// <summary>Operands x [N, T, D], score [N, T] or [N, T, 1] -> [N, K, D].</summary>
    public static string Write(OnnxCall call)
    {
        var op = (KeepRowsOp)call.Node.Op;
        OnnxRows rows = call.Writer.RowsOf(call.Operand(0));
        int prefix = rows.Tokens?.Count(t => t < op.Prefix)
            ?? (op.Prefix <= rows.Prefix ? op.Prefix : throw OnnxRows.Unknown(call));
        if (op.Fuse && (rows.Count is null || call.Writer.OneImage || op.Rule.By is KeepBy.Limit or KeepBy.Tokens))
            throw new EspalierException($"KeepRows: '{call.Node.Name}' fuses rows, and images decide how many they are; such a "
                + "network cannot be written as ONNX");
        string kept = op.Rule.By switch
        {
            KeepBy.Tokens when rows.Tokens is { } tokens => Listed(call, op, rows, tokens),
            KeepBy.Tokens => Compress(call, op, rows, InList(call, op, rows)),
            KeepBy.Limit => Compress(call, op, rows, Stays(call, op, prefix)),
            _ => Highest(call, op, rows, prefix),
        };
        if (call.Writer.OneImage) call.Writer.Decided(call.Constants.Free($"{call.Name}.count"), call.Rows.List(call));
        return kept;
    }

    /// <summary>The same tokens of every image.</summary>
    private static string Listed(OnnxCall call, KeepRowsOp op, OnnxRows rows, int[] tokens)
    {
        int[] places = [.. Enumerable.Range(0, tokens.Length)
            .Where(i => tokens[i] < op.Prefix || Array.BinarySearch(op.Rule.List!, tokens[i]) >= 0)];
        call.Rows = places.Length == tokens.Length ? rows : OnnxRows.Of([.. places.Select(i => tokens[i])]);
        return places.Length == tokens.Length ? call[0] : call.Result("Gather",
            [call[0], call.Ints([.. places.Select(i => (long)i)])], OnnxAttribute.Int("axis", 1));
    }

    /// <summary>[T] of true and false, from a table over all tokens.</summary>
    private static string InList(OnnxCall call, KeepRowsOp op, OnnxRows rows)
    {
        HashSet<int> list = [.. op.Rule.List!];
        string table = call.Constants.Bools($"{call.Name}.list",
            Enumerable.Range(0, call.Writer.MostRows).Select(t => t < op.Prefix || list.Contains(t)));
        return call.Part("stays", "Gather", [table, rows.List(call)]);
    }

    /// <summary>
    /// [T] of true and false: true but where the score is below the limit, so that one that is no number stays. A score that is
    /// the negative of something, as agents give it, is compared without turning the sign.
    /// </summary>
    private static string Stays(OnnxCall call, KeepRowsOp op, int prefix)
    {
        GraphValue score = call.Operand(1);
        bool negative = score.Producer is { Op: NegOp };
        if (negative) score = score.Producer!.Operands[0]!;
        string limit = call.Constants.Floats($"{call.Name}.{(negative ? "threshold" : "limit")}", [],
            [negative ? -op.Rule.Limit : op.Rule.Limit]);
        string flat = call.Part("scores", "Reshape", [call.Writer.Read(score, asTokens: true), call.Ints(-1)]);
        string drop = call.Part("drop", negative ? "Greater" : "Less", [flat, limit]);
        string keep = call.Part("keep", "Not", [drop]);
        if (prefix == 0) return keep;
        string behind = call.Slice("keep.behind", keep, prefix, long.MaxValue, 0);
        string first = call.Constants.Bools("prefix.stays", Enumerable.Repeat(true, prefix));
        return call.Part("stays", "Concat", [first, behind], OnnxAttribute.Int("axis", 0));
    }

    /// <summary>The rows, and their names, for which <paramref name="stays"/> [T] is true.</summary>
    private static string Compress(OnnxCall call, KeepRowsOp op, OnnxRows rows, string stays)
    {
        string left = call.Writer.File.Node("Compress", LeftName(call), [rows.List(call), stays], OnnxAttribute.Int("axis", 0));
        call.Rows = new OnnxRows(null, null, Math.Min(op.Prefix, rows.Prefix), left);
        return call.Result("Compress", [call[0], stays], OnnxAttribute.Int("axis", 1));
    }

    /// <summary>A number of each image's rows, those with the highest scores; the first of equals, and what is no number
    /// first.</summary>
    private static string Highest(OnnxCall call, KeepRowsOp op, OnnxRows rows, int prefix)
    {
        if (rows.Count is { } all && op.Rule.Kept(all - prefix) == all - prefix)
        {
            call.Rows = rows;
            return call[0];
        }
        string scores = call.Writer.Read(call.Operand(1), asTokens: true);
        if (call.Shape(1).Rank == 2) scores = call.Part("scores", "Squeeze", [scores, call.Ints(2)]);
        string behind = call.Slice("behind", scores, prefix, long.MaxValue, 1);
        string best = call.Part("ordered", "Where",
            [call.Part("broken", "IsNaN", [behind]), call.Float(float.PositiveInfinity), behind]);
        string count = rows.Count is { } known ? call.Ints(op.Rule.Kept(known - prefix)) : Count(call, op, behind);
        string places = call.TopK("best", "best.places", best, count, largest: true).Places;
        string rising = call.TopK("rising", "rising.places", places, count, largest: false).Values;
        places = call.Part("places", "Add", [rising, call.Constants.Int(prefix)]);                                  // [N, k]
        string[] first = prefix == 0 ? [] : [call.Slice("first", call[0], 0, prefix, 1)];
        string index = call.Part("index", "Unsqueeze", [places, call.Ints(2)]);
        string[] last = op.Fuse ? [Fused(call, behind, prefix, places)] : [];
        string rest = first.Length + last.Length == 0 ? call.Name : call.Constants.Free($"{call.Name}.rest");
        call.Writer.File.Node("GatherND", rest, [call[0], index], OnnxAttribute.Int("batch_dims", 1));
        int? left = rows.Count is { } before ? prefix + op.Rule.Kept(before - prefix) + last.Length : null;
        string? names = call.Writer.OneImage ? Names(call, rows, prefix, places) : null;
        call.Rows = new OnnxRows(left, null, Math.Min(op.Prefix, rows.Prefix), names);
        return first.Length + last.Length == 0 ? rest
            : call.Result("Concat", [.. first, rest, .. last], OnnxAttribute.Int("axis", 1));
    }

    /// <summary>[N, 1, D]: the rows behind the prefix that do not stay, each times its score, together.</summary>
    private static string Fused(OnnxCall call, string scores, int prefix, string places)
    {
        string kept = call.Part("kept.places", "Sub", [places, call.Constants.Int(prefix)]);
        string stays = call.Part("kept.scores", "GatherElements", [scores, kept], OnnxAttribute.Int("axis", 1));
        string dropped = call.Part("dropped", "ScatterElements", [scores, kept, call.Part("none", "Sub", [stays, stays])],
            OnnxAttribute.Int("axis", 1));
        string weights = call.Part("weights", "Unsqueeze", [dropped, call.Ints(1)]);
        string rows = call.Slice("rows.behind", call[0], prefix, long.MaxValue, 1);
        return call.Part("fused", "MatMul", [weights, rows]);
    }

    /// <summary>[1]: how many of the scores' rows stay, from a table over all numbers of rows.</summary>
    private static string Count(OnnxCall call, KeepRowsOp op, string scores)
    {
        int most = call.Operand(0).Tensor.Rows!.MaxLength;
        string table = call.Ints([.. Enumerable.Range(0, most + 1).Select(n => (long)op.Rule.Kept(n))]);
        string present = call.Part("present", "Shape", [scores], OnnxAttribute.Int("start", 1), OnnxAttribute.Int("end", 2));
        return call.Part("number", "Gather", [table, present]);
    }

    /// <summary>The names of the rows at places [1, k] behind the prefix.</summary>
    private static string Names(OnnxCall call, OnnxRows rows, int prefix, string places)
    {
        string flat = call.Part("places.flat", "Reshape", [places, call.Ints(-1)]), list = rows.List(call);
        string rest = call.Part("left.rest", "Gather", [list, flat]);
        return call.Writer.File.Node("Concat", LeftName(call), [call.Slice("left.first", list, 0, prefix, 0), rest],
            OnnxAttribute.Int("axis", 0));
    }

    /// <summary>The last decision's list is an output of the file.</summary>
    private static string LeftName(OnnxCall call) =>
        call.Writer.IsLastDecision(call.Node) ? OnnxRows.Left : call.Constants.Free($"{call.Name}.kept");
}
