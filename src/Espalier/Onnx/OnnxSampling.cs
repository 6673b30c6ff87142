using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Adaptive sampling of token rows.</summary>
internal static class OnnxSampling
{
    /// <summary>Operand scores [N, T] -> [N, T]: 1 for rows that are taken and those in front, else 0.</summary>
    public static string Write(OnnxCall call)
    {
        var op = (SampleRowsOp)call.Node.Op;
        call.Rows = call.Writer.RowsOf(call.Operand(0));
        string scores = call.Writer.Read(call.Operand(0), asTokens: true);
        string behind = call.Slice("behind", scores, op.Prefix, long.MaxValue, 1);
        string count = call.Part("count", "Shape", [behind], OnnxAttribute.Int("start", 1), OnnxAttribute.Int("end", 2));
        var (rising, order) = call.TopK("rising", "order", behind, count, largest: false);
        string sums = call.Part("sums", "CumSum", [rising, call.Constants.Int(1)]);
        string low = call.Slice("low", sums, 0, 1, 1), high = call.Slice("high", sums, -1, long.MaxValue, 1);
        string span = call.Part("span", "Sub", [high, low]);
        string curve = call.Part("curve", "Div", [call.Part("above", "Sub", [sums, low]), span]);                       // [N, n]
        string one = call.Float(1), zero = call.Float(0);
        string positive = call.Part("positive", "Where", [call.Part("isPositive", "Greater", [curve, zero]), curve, one]);
        string begin = OnnxReductions.Part(call, "begin", "ReduceMin", positive, [1], keep: true);                      // [N, 1]
        int levels = op.Levels;
        string steps = call.Constants.Floats($"{call.Name}.steps", [1, levels],
            [.. Enumerable.Range(0, levels).Select(n => levels == 1 ? 0 : n / (float)(levels - 1))]);
        string rest = call.Part("rest", "Sub", [one, begin]);
        string level = call.Part("level", "Add", [begin, call.Part("part", "Mul", [rest, steps])]);
        string column = call.Part("level.column", "Unsqueeze", [level, call.Ints(2)]);
        string row = call.Part("curve.row", "Unsqueeze", [curve, call.Ints(1)]);
        string away = call.Part("away", "Abs", [call.Part("difference", "Sub", [column, row])]);
        string nearest = call.Part("nearest", "ArgMin", [away], OnnxAttribute.Int("axis", 2), OnnxAttribute.Int("keepdims", 0));
        string none = call.Part("none", "ConstantOfShape", [call.Part("size", "Shape", [behind])]);
        string zeros = call.Part("no", "ConstantOfShape", [call.Part("picks", "Shape", [nearest])]);
        string ones = call.Part("ones", "Add", [zeros, one]);
        string taken = call.Part("taken", "ScatterElements", [none, nearest, ones], OnnxAttribute.Int("axis", 1));
        string there = call.Part("there", "ScatterElements", [none, order, taken], OnnxAttribute.Int("axis", 1));
        // All of the score is one row's, or nothing is known.
        string sampled = call.Part("sampled", "Where", [call.Part("isCurve", "Greater", [span, zero]), there, one]);
        if (op.Prefix == 0) return sampled;
        string first = call.Part("first.size", "Shape", [call.Slice("first", scores, 0, op.Prefix, 1)]);
        string stays = call.Part("first.stays", "Add", [call.Part("first.no", "ConstantOfShape", [first]), one]);
        return call.Result("Concat", [stays, sampled], OnnxAttribute.Int("axis", 1));
    }
}
