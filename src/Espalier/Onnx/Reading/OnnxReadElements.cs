using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Functions of single numbers, and of two.</summary>
internal static class OnnxReadElements
{
    /// <summary>Add, Sub, Mul, Div; with a constant of one number an affine map.</summary>
    public static OnnxOperand Binary(OnnxReadCall call, string op)
    {
        OnnxOperand a = call[0], b = call[1];
        OnnxEmitter emit = call.Emit;
        // Before opset 7 the second operand was laid beside axes of the first from a certain one on.
        if (call.Node.Opset < 7 && call.Node.Has("axis") && call.Node.Int("broadcast", 0) != 0)
        {
            int from = OnnxArray.Axis(call.Node.Int("axis", 0), a.Rank), ones = a.Rank - from - b.Rank;
            if (ones < 0) throw new InvalidDataException("its operands do not fit its axis");
            int[] two = [.. b.Dims, .. Enumerable.Repeat(1, ones)], three = [.. b.DimsOfThree, .. Enumerable.Repeat(1, ones)];
            b = b.IsConstant ? emit.Shaped(b, two) : emit.Reshape(b, two, three);
        }
        bool whole = op == "Div" && !a.Type.IsFloat();
        if (b.Scalar is { } right && b.Rank <= a.Rank && !whole)
        {
            switch (op)
            {
                case "Add": return emit.Affine(a, 1, right);
                case "Sub": return emit.Affine(a, 1, -right);
                case "Mul": return emit.Affine(a, right, 0);
                case "Div" when right != 0: return emit.Affine(a, 1 / right, 0);
            }
        }
        if (a.Scalar is { } left && a.Rank <= b.Rank && !whole)
        {
            switch (op)
            {
                case "Add": return emit.Affine(b, 1, left);
                case "Sub": return emit.Affine(b, -1, left);
                case "Mul": return emit.Affine(b, left, 0);
                case "Div" when b.Type is OnnxType.Float:
                    return emit.Affine(emit.Element(ElementFunction.Reciprocal, b), left, 0);
            }
        }
        OnnxOperand y = call.Make(op, a, b);
        return whole ? Truncated(call, y) : y;
    }

    public static OnnxOperand Sum(OnnxReadCall call)
    {
        OnnxOperand sum = call[0];
        for (int i = 1; i < call.Count; i++) sum = call.Make("Add", sum, call[i]);
        return sum;
    }

    public static OnnxOperand Pair(OnnxReadCall call, PairFunction function)
    {
        if (function == PairFunction.Mod && call.Node.Int("fmod", 0) != 0) function = PairFunction.FMod;
        OnnxOperand y = call[0];
        for (int i = 1; i < call.Count; i++) y = call.Emit.Pair(function, y, call[i]);
        return OnnxFunctions.IsLogic(function) ? OnnxReadCall.Typed(y, OnnxType.Bool) : OnnxReadCall.Typed(y, call[0].Type);
    }

    public static OnnxOperand Pow(OnnxReadCall call)
    {
        if (call[1].Scalar is not { } exponent || call[1].Rank > call[0].Rank) return Pair(call, PairFunction.Pow);
        if (exponent == 1) return call[0];
        if (exponent == 2) return call.Make("Square", call[0]);
        return exponent == 0.5 ? call.Make("Sqrt", call[0])
            : call.Emit.Node("Pow", new OpSettings().Set("exponent", (float)exponent), call[0]);
    }

    /// <summary>Limits are attributes before opset 11, operands since; they may be computed.</summary>
    public static OnnxOperand Clip(OnnxReadCall call)
    {
        if (call.Optional(1) is { IsConstant: false } || call.Optional(2) is { IsConstant: false })
        {
            OnnxOperand y = call[0];
            if (call.Has(1)) y = call.Emit.Pair(PairFunction.Max, y, call[1]);
            return call.Has(2) ? call.Emit.Pair(PairFunction.Min, y, call[2]) : y;
        }
        double low = call.Number(1, "min", double.NegativeInfinity), high = call.Number(2, "max", double.PositiveInfinity);
        return low == 0 && double.IsPositiveInfinity(high) ? call.Make("Relu", call[0]) : call.Emit.Clamp(call[0], low, high);
    }

    /// <summary>Floats of any width are computed in one; whole numbers are floats without a fraction.</summary>
    public static OnnxOperand Cast(OnnxReadCall call, OnnxType to)
    {
        if (!Enum.IsDefined(to)) throw new InvalidDataException($"casts to the type {(int)to}, which is not read");
        OnnxOperand x = call[0];
        bool fromFloat = x.Type.IsFloat();
        if (to == OnnxType.Bool && x.Type != OnnxType.Bool)
            x = call.Emit.Element(ElementFunction.Not, call.Emit.Element(ElementFunction.Not, x));
        else if (fromFloat && !to.IsFloat()) x = Truncated(call, x);
        return OnnxReadCall.Typed(x, to);
    }

    /// <summary>Its mask, where the file asks for it, is of ones: nothing is dropped.</summary>
    public static IReadOnlyList<OnnxOperand> Dropout(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        double rate = call.Number(1, "ratio", 0.5);
        bool training = call.Has(2) && call.Fixed(2)!.Values is [not 0];
        if (training && rate > 0 && !call.Open) throw new InvalidDataException("drops at random; what it gives is not known");
        OnnxOperand y = rate > 0 && rate < 1 && call.Open
            ? call.Emit.Node("Dropout", new OpSettings().Set("rate", (float)rate), x) : x;
        OnnxArray ones = new(OnnxType.Bool, x.Dims, [.. Enumerable.Repeat(1.0, OnnxArray.Count(x.Dims))]);
        return call.Node.Source.Outputs.Count < 2 ? [y] : [y, OnnxOperand.Constant("", ones)];
    }

    /// <summary>max(x, 0) - slope max(-x, 0).</summary>
    public static OnnxOperand PRelu(OnnxReadCall call)
    {
        OnnxOperand x = call[0], slope = call[1], negative = call.Make("Relu", call.Make("Neg", x));
        // Before opset 7 one number for each channel.
        if (slope is { IsConstant: true, Rank: 1 } && x.Rank > 2 && slope.Dims[0] == x.Dims[1] && call.Node.Opset < 7)
            slope = call.Emit.Shaped(slope, [slope.Dims[0], .. Enumerable.Repeat(1, x.Rank - 2)]);
        return call.Make("Sub", call.Make("Relu", x), call.Make("Mul", negative, slope));
    }

    /// <summary>Along one axis since opset 13; before it, over all axes from one on.</summary>
    public static OnnxOperand Softmax(OnnxReadCall call, string op)
    {
        OnnxOperand x = call[0];
        bool flat = call.Node.Opset < 13;
        int axis = OnnxArray.Axis(call.Node.Int("axis", flat ? 1 : -1), Math.Max(1, x.Rank)), rank = x.Rank;
        if (axis == rank - 1 || rank == 0) return call.Make(op, x);
        if (flat)
        {
            OnnxOperand rows = call.Emit.Reshape(x, [.. x.Dims[..axis], Product(x.Dims, axis)],
                [.. x.DimsOfThree[..axis], Product(x.DimsOfThree, axis)]);
            return call.Emit.Reshape(call.Make(op, rows), x.Dims, x.DimsOfThree);
        }
        int[] order = [.. Enumerable.Range(0, rank)];
        (order[axis], order[^1]) = (order[^1], order[axis]);
        return call.Emit.Permute(call.Make(op, call.Emit.Permute(x, order)), order);
    }

    private static OnnxOperand Truncated(OnnxReadCall call, OnnxOperand x) =>
        call.Make("Mul", call.Emit.Element(ElementFunction.Sign, x),
            call.Emit.Element(ElementFunction.Floor, call.Make("Abs", x)));

    private static int Product(int[] dims, int from) => dims[from..].Aggregate(1, (a, n) => a * n);
}
