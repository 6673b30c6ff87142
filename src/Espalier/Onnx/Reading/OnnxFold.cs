using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Computes operators on constants: the arithmetic of shapes, lists and masks that exporters leave in files. An operator that is
/// not here may still be computed from weights when the network runs.
/// </summary>
internal static class OnnxFold
{
    private static readonly Dictionary<string, Func<OnnxFoldCall, OnnxArray>> Known = new(StringComparer.Ordinal)
    {
        ["Abs"] = c => c.Map(Math.Abs),
        ["Add"] = c => c.Pair((a, b) => a + b),
        ["ArgMax"] = c => OnnxFoldReduce.Arg(c, (a, b) => a > b),
        ["ArgMin"] = c => OnnxFoldReduce.Arg(c, (a, b) => a < b),
        ["Cast"] = c => c.Cast((OnnxType)c.Node.Int("to", 1)),
        ["CastLike"] = c => c.Cast(c[1].Type),
        ["Clip"] = c => c.Map(v => Math.Min(Math.Max(v, c.Number(1, "min", double.NegativeInfinity)),
            c.Number(2, "max", double.PositiveInfinity))),
        ["Concat"] = OnnxFoldMoves.Concat,
        ["ConstantOfShape"] = OnnxFoldMoves.Filled,
        ["CumSum"] = OnnxFoldReduce.CumSum,
        ["Div"] = c =>
            c[0].IsWhole ? c.Pair((a, b) => b == 0 ? throw new InvalidDataException("divides by 0") : Math.Truncate(a / b))
            : c.Pair((a, b) => a / b),
        ["Dropout"] = c => c.Optional(2) is { Values: [not 0] } && c.Number(1, "ratio", 0.5) > 0
            ? throw new InvalidDataException("drops at random; what it gives is not known") : c[0],
        ["Exp"] = c => c.Map(Math.Exp),
        ["Expand"] = c => c[0].Expanded(OnnxArray.Joint(c[0].Dims, c[1].Ints())),
        ["EyeLike"] = OnnxFoldMoves.Eye,
        ["Flatten"] = c => c[0].Shaped(OnnxMoves.Flattened(c.Node, c[0].Dims)),
        ["Gather"] = OnnxFoldMoves.Gather,
        ["GatherElements"] = OnnxFoldMoves.GatherElements,
        ["GatherND"] = OnnxFoldMoves.GatherNd,
        ["Identity"] = c => c[0],
        ["IsInf"] = c => c.Map(v => (double.IsPositiveInfinity(v) && c.Node.Int("detect_positive", 1) != 0)
            || (double.IsNegativeInfinity(v) && c.Node.Int("detect_negative", 1) != 0) ? 1 : 0) with { Type = OnnxType.Bool },
        ["IsNaN"] = c => c.Map(v => double.IsNaN(v) ? 1 : 0) with { Type = OnnxType.Bool },
        ["Log"] = c => c.Map(Math.Log),
        ["Mean"] = OnnxFoldReduce.OfOperands,
        ["Mul"] = c => c.Pair((a, b) => a * b),
        ["Neg"] = c => c.Map(v => -v),
        ["NonZero"] = OnnxFoldMoves.NonZero,
        ["OneHot"] = OnnxFoldMoves.OneHot,
        ["Pad"] = c =>
            c[0].Take(OnnxMoves.Pad(c.Node, c[0].Dims, c.Has(1) ? c[1] : null, c.Has(3) ? c[3] : null), c.Number(2, "value", 0)),
        ["Range"] = OnnxFoldMoves.Range,
        ["ReduceMax"] = c => OnnxFoldReduce.Reduce(c, double.NegativeInfinity, Math.Max),
        ["ReduceMean"] = c => OnnxFoldReduce.Mean(c),
        ["ReduceMin"] = c => OnnxFoldReduce.Reduce(c, double.PositiveInfinity, Math.Min),
        ["ReduceProd"] = c => OnnxFoldReduce.Reduce(c, 1, (a, b) => a * b),
        ["ReduceSum"] = c => OnnxFoldReduce.Reduce(c, 0, (a, b) => a + b),
        ["Relu"] = c => c.Map(v => Math.Max(v, 0)),
        ["Reshape"] = c => c[0].Shaped(OnnxMoves.Reshaped(c[0].Dims, c[1].Longs(), c.Node.Int("allowzero", 0) != 0)),
        ["ScatterND"] = OnnxFoldMoves.ScatterNd,
        ["Sigmoid"] = c => c.Map(v => 1 / (1 + Math.Exp(-v))),
        ["Slice"] = c =>
            c[0].Take(OnnxMoves.Slice(c.Node, c[0].Dims, c.Optional(1), c.Optional(2), c.Optional(3), c.Optional(4))),
        ["Sqrt"] = c => c.Map(Math.Sqrt),
        ["Squeeze"] = c => c[0].Shaped(OnnxMoves.Squeezed(c.Node, c[0].Dims, c.Optional(1))),
        ["Sub"] = c => c.Pair((a, b) => a - b),
        ["Sum"] = c => c.Sum(),
        ["Tanh"] = c => c.Map(Math.Tanh),
        ["Tile"] = c => c[0].Take(OnnxMoves.Tile(c[0].Dims, c[1].Ints())),
        ["Transpose"] = c => c[0].Transposed(OnnxMoves.Order(c.Node, c[0].Dims.Length)),
        ["Trilu"] = OnnxFoldMoves.Trilu,
        ["Unsqueeze"] = c => c[0].Shaped(OnnxMoves.Unsqueezed(c.Node, c[0].Dims, c.Optional(1))),
        ["Where"] = OnnxFoldMoves.Where,
    };

    /// <summary>The result; null where the operator is not computed on constants.</summary>
    /// <exception cref="InvalidDataException">The operator does not fit its operands, or what it gives is too large.</exception>
    public static OnnxArray? Run(OnnxNodeView node, OnnxArray?[] inputs)
    {
        var call = new OnnxFoldCall(node, inputs);
        if (Known.TryGetValue(node.Operator, out Func<OnnxFoldCall, OnnxArray>? fold)) return fold(call);
        if (OnnxFunctions.Element(node.Operator) is { } f)
        {
            float a = f.A is null ? 0 : node.Float(f.A, f.DefaultA), b = f.B is null ? 0 : node.Float(f.B, f.DefaultB);
            return call.Map(v => ElementOp.Value(f.Function, v, a, b));
        }
        if (OnnxFunctions.Pair(node.Operator) is not { } pair) return null;
        if (pair == PairFunction.Mod && node.Int("fmod", 0) != 0) pair = PairFunction.FMod;
        if (pair is PairFunction.Mod or PairFunction.FMod && call[0].IsWhole && Array.IndexOf(call[1].Values, 0) >= 0)
            throw new InvalidDataException("divides by 0");
        OnnxArray y = call.Pair((a, b) => PairOp.Value(pair, a, b));
        for (int i = 2; i < inputs.Length; i++)
            y = new OnnxFoldCall(node, [y, inputs[i]]).Pair((a, b) => PairOp.Value(pair, a, b));
        if (OnnxFunctions.IsLogic(pair)) return y with { Type = OnnxType.Bool };
        return pair == PairFunction.Pow && call[0].IsWhole ? y with { Values = Array.ConvertAll(y.Values, Math.Truncate) } : y;
    }
}

/// <summary>An operator on its constant operands.</summary>
internal sealed class OnnxFoldCall(OnnxNodeView node, OnnxArray?[] inputs)
{
    public OnnxNodeView Node => node;

    public int Count => inputs.Length;

    public OnnxArray this[int operand] =>
        Optional(operand) ?? throw new InvalidDataException($"its operand {operand} is missing");

    public OnnxArray? Optional(int operand) => operand < inputs.Length ? inputs[operand] : null;

    public bool Has(int operand) => Optional(operand) is not null;

    /// <summary>An operand of one number that older versions have as an attribute.</summary>
    public double Number(int operand, string attribute, double otherwise) => Has(operand)
        ? this[operand].Values is [var v, ..] ? v : otherwise
        : node.Has(attribute) ? node.Float(attribute, 0) : otherwise;

    public OnnxArray Map(Func<double, double> f)
    {
        bool single = this[0].Type == OnnxType.Float;
        return this[0] with { Values = Array.ConvertAll(this[0].Values, v => single ? (float)f(v) : f(v)) };
    }

    public OnnxArray Pair(Func<double, double, double> f) => Pair(this[0], Count > 1 ? this[1] : null, f);

    public OnnxArray Sum()
    {
        OnnxArray sum = this[0];
        for (int i = 1; i < Count; i++) sum = Pair(sum, this[i], (a, b) => a + b);
        return sum;
    }

    public OnnxArray Cast(OnnxType to) => new(to, this[0].Dims, Array.ConvertAll(this[0].Values, v => to switch
    {
        OnnxType.Double => v,
        OnnxType.Float => (float)v,
        OnnxType.Float16 => (double)(Half)v,
        OnnxType.BFloat16 => BitConverter.Int32BitsToSingle((int)((BitConverter.SingleToUInt32Bits((float)v) + 0x7fff
            + (BitConverter.SingleToUInt32Bits((float)v) >> 16 & 1)) & 0xffff0000)),
        OnnxType.Bool => v != 0 ? 1 : 0,
        OnnxType.UInt8 => (byte)(long)v,
        OnnxType.Int8 => (sbyte)(long)v,
        OnnxType.Int16 => (short)(long)v,
        OnnxType.UInt16 => (ushort)(long)v,
        OnnxType.Int32 => (int)(long)v,
        OnnxType.UInt32 => (uint)(long)v,
        OnnxType.Int64 or OnnxType.UInt64 => Math.Truncate(v),
        _ => throw new InvalidDataException($"casts to the type {(int)to}, which is not read"),
    }));

    private static OnnxArray Pair(OnnxArray a, OnnxArray? b, Func<double, double, double> f)
    {
        if (b is null) return a;
        int[] dims = OnnxArray.Joint(a.Dims, b.Dims);
        double[] x = a.Expanded(dims).Values, z = b.Expanded(dims).Values;
        var y = new double[x.Length];
        // Sizes are computed with such numbers: 10 times the float 0.7 is 7, and rounded down one less where it is not rounded to a float.
        bool single = a.Type == OnnxType.Float;
        for (int i = 0; i < y.Length; i++) y[i] = single ? (float)f(x[i], z[i]) : f(x[i], z[i]);
        return new OnnxArray(a.Type, dims, y);
    }
}
