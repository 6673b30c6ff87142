using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>How images become token rows, and what picks from them by their place.</summary>
internal static class OnnxTokens
{
    /// <summary>x [N, C, H, W] -> [N, T, C·p·p]. Linear maps of it do not read that: they are written as convolutions.</summary>
    public static string Patches(OnnxCall call)
    {
        int size = call.Settings.Int("patch");
        Shape x = call.Shape(0);
        long channels = x[1], rows = x[2] / size, columns = x[3] / size;
        call.Rows = OnnxRows.All((int)(rows * columns));
        string split = call.Part("split", "Reshape",
            [call.Writer.Read(call.Operand(0), asTokens: false), call.Ints(-1, channels, rows, size, columns, size)]);
        string turned = call.Part("turned", "Transpose", [split], OnnxAttribute.Ints("perm", 0, 2, 4, 1, 3, 5));
        long width = channels * size * size;
        return call.Result("Reshape", [turned, call.Tokens ? call.Ints(-1, rows * columns, width) : call.Ints(-1, width)]);
    }

    /// <summary>
    /// Operands patches [N, n, D], positions [1, T, D] and tokens in front [1, k, D], if any -> [N, T, D]. The prefix holds its
    /// positions.
    /// </summary>
    public static string Assemble(OnnxCall call)
    {
        GraphValue positions = call.Operand(1);
        int tokens = positions.Shape[1], width = positions.Shape[2], prefix = ((AssembleTokensOp)call.Node.Op).Prefix;
        float[] places = Value(1), first = [.. Enumerable.Range(2, call.Node.Operands.Count - 2).SelectMany(Value)];
        for (int i = 0; i < first.Length; i++) first[i] += places[i];
        call.Rows = OnnxRows.All(tokens);
        string patches = call.Writer.Read(call.Operand(0), asTokens: true);
        string[] sum = [patches, call.Constants.Floats($"{call.Name}.positions", [1, tokens - prefix, width], places[(prefix * width)..])];
        if (prefix == 0) return call.Result("Add", sum);
        string placed = call.Part("placed", "Add", sum);
        string start = call.Constants.Floats($"{call.Name}.prefix", [1, prefix, width], first);
        if (!call.Writer.OneImage)
        {
            string images = call.Part(
                "images", "Shape", [call.Writer.Input], OnnxAttribute.Int("start", 0), OnnxAttribute.Int("end", 1));
            string shape = call.Part("shape", "Concat", [images, call.Ints(prefix, width)], OnnxAttribute.Int("axis", 0));
            start = call.Part("first", "Expand", [start, shape]);
        }
        return call.Result("Concat", [start, placed], OnnxAttribute.Int("axis", 1));

        float[] Value(int operand) => call.Writer.IsComputed(call.Operand(operand))
            ? throw new EspalierException($"AssembleTokens: '{call.Operand(operand).Name}' is not a weight; such a network "
                + "cannot be written as ONNX")
            : call.Constants.Value(call.Operand(operand)).ToArray();
    }

    /// <summary>Operands ids [N, T], table [V, D] and positions [T, D] -> [N, T, D]. Padding has rows in a file: behind the end
    /// of a text, where no causal attention of what is asked for sees them.</summary>
    public static string Embed(OnnxCall call)
    {
        GraphValue ids = call.Operand(0);
        string words = call.Writer.Read(ids, asTokens: false);
        if (!call.Writer.IsIds(ids)) words = call.Part("ids", "Cast", [words], OnnxAttribute.Int("to", (long)OnnxType.Int64));
        call.Rows = OnnxRows.All(call.Shape(0)[1]) with
        {
            Ends = call.Part("ends", "ArgMax", [words], OnnxAttribute.Int("axis", 1), OnnxAttribute.Int("keepdims", 0)),
        };
        string rows = call.Part("words", "Gather", [call.Writer.Read(call.Operand(1), asTokens: false), words]);
        return call.Result("Add", [rows, call.Writer.Read(call.Operand(2), asTokens: false)]);
    }

    /// <summary>Some rows of each image: [N, T, D] -> [N, count, D], or [N, D] where it is one.</summary>
    public static string Take(OnnxCall call)
    {
        int start = call.Settings.Int("start"), count = call.Settings.Int("count"), end = start + count;
        GraphValue x = call.Operand(0);
        string rows = call.Writer.Read(x, asTokens: true);
        OnnxRows before = call.Writer.RowsOf(x);
        if (start < 0 && before.Ends is not null)
        {
            if (count > 1) throw OnnxRows.Unknown(call);
            string places = call.Part("places", "Add", [before.Ends, call.Constants.Int(start + 1)]);
            return call.Result("GatherND", [rows, call.Part("index", "Unsqueeze", [places, call.Ints(1)])],
                OnnxAttribute.Int("batch_dims", 1));
        }
        if (!call.Tokens && count == 1)
            return call.Result("Gather", [rows, call.Constants.Int(start)], OnnxAttribute.Int("axis", 1));
        if (start < 0)
        {
            if (before.Count is not { } all) throw OnnxRows.Unknown(call);
            (start, end) = (all + start, all + end);
        }
        if (before.Tokens is { } tokens) call.Rows = OnnxRows.Of(tokens[start..end]);
        else if (end <= before.Prefix) call.Rows = OnnxRows.Of([.. Enumerable.Range(start, count)]);
        else call.Rows = new OnnxRows(count, null, 0);
        return call.Result("Slice", [rows, call.Ints(start), call.Ints(end), call.Ints(1)]);
    }

    /// <summary>The grid behind the prefix: [N, T, D] -> [N, D, H, W].</summary>
    public static string ToMaps(OnnxCall call)
    {
        Shape maps = call.Node.Output.Shape;
        int prefix = call.Settings.Int("prefix");
        string x = call.Writer.Read(call.Operand(0), asTokens: true);
        int end = prefix + maps[2] * maps[3];
        if (prefix > 0) x = call.Part("grid", "Slice", [x, call.Ints(prefix), call.Ints(end), call.Ints(1)]);
        string turned = call.Part("turned", "Transpose", [x], OnnxAttribute.Ints("perm", 0, 2, 1));
        return call.Result("Reshape", [turned, call.Ints(0, maps[1], maps[2], maps[3])]);
    }

    /// <summary>Operands x [N, D, H, W] and perhaps the rows in front [N, P, D], zeros without -> [N, P + H·W, D].</summary>
    public static string ToRows(OnnxCall call)
    {
        Shape maps = call.Shape(0);
        int prefix = call.Settings.Int("prefix"), pixels = maps[2] * maps[3];
        call.Rows = OnnxRows.All(prefix + pixels);
        string flat = call.Part(
            "flat", "Reshape", [call.Writer.Read(call.Operand(0), asTokens: false), call.Ints(0, maps[1], pixels)]);
        OnnxAttribute order = OnnxAttribute.Ints("perm", 0, 2, 1);
        if (prefix == 0) return call.Result("Transpose", [flat], order);
        string grid = call.Part("grid", "Transpose", [flat], order);
        if (!call.Has(1)) return call.Result("Pad", [grid, call.Ints(0, prefix, 0, 0, 0, 0), call.Float(0)]);
        string first = call.Writer.Read(call.Operand(1), asTokens: true);
        return call.Result("Concat", [first, grid], OnnxAttribute.Int("axis", 1));
    }

    /// <summary>Operands x [N, T, D], v [N, D] and perhaps bias [N] or [N, 1] -> [N, T].</summary>
    public static string RowDot(OnnxCall call)
    {
        string x = call.Writer.Read(call.Operand(0), asTokens: true), v = call.Writer.Read(call.Operand(1), asTokens: false);
        call.Rows = call.Writer.RowsOf(call.Operand(0));
        string column = call.Part("column", "Unsqueeze", [v, call.Ints(2)]);
        string products = call.Part("products", "MatMul", [x, column]);
        if (!call.Has(2)) return call.Result("Squeeze", [products, call.Ints(2)]);
        string dots = call.Part("dots", "Squeeze", [products, call.Ints(2)]);
        string bias = call.Writer.Read(call.Operand(2), asTokens: false);
        if (call.Shape(2).Rank == 1) bias = call.Part("bias", "Unsqueeze", [bias, call.Ints(1)]);
        return call.Result("Add", [dots, bias]);
    }

    /// <summary>x [N, T, D] -> [N, T, D]: the mean of an image's rows behind the prefix, on each row. Where none is left there is
    /// nothing to divide by.</summary>
    public static string Mean(OnnxCall call)
    {
        GraphValue operand = call.Operand(0);
        int wanted = ((RowMeanOp)call.Node.Op).Prefix;
        OnnxRows rows = call.Rows = call.Writer.RowsOf(operand);
        int prefix = rows.Tokens?.Count(t => t < wanted) ?? (wanted <= rows.Prefix ? wanted : throw OnnxRows.Unknown(call));
        string x = call.Writer.Read(operand, asTokens: true);
        string behind = call.Part("behind", "Slice", [x, call.Ints(prefix), call.Ints(long.MaxValue), call.Ints(1)]);
        string sum = OnnxReductions.Part(call, "sum", "ReduceSum", behind, [1], keep: true);
        string count = rows.Count is { } all ? call.Float(Math.Max(1, all - prefix)) : call.Part("most", "Max", [
            call.Part("count", "Cast", [call.Part("present", "Shape", [behind], OnnxAttribute.Int("start", 1),
                OnnxAttribute.Int("end", 2))], OnnxAttribute.Int("to", (long)OnnxType.Float)), call.Float(1)]);
        return call.Result("Expand", [call.Part("mean", "Div", [sum, count]), call.Part("size", "Shape", [x])]);
    }
}
