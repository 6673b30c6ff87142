using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Whole numbers of 8 bits and the scales that they stand for; computed as floats, which hold them exactly.</summary>
internal static class OnnxReadQuantised
{
    /// <summary>round(x / scale) + zero, cut to the type's range.</summary>
    public static OnnxOperand Quantise(OnnxReadCall call)
    {
        OnnxType type = call.Optional(2)?.Type ?? OnnxType.UInt8;
        return Rounded(call, call[0], Along(call, call[1], call[0]), call.Optional(2) is { } z ? Along(call, z, call[0]) : null, type);
    }

    public static OnnxOperand Dequantise(OnnxReadCall call) => OnnxReadCall.Typed(call.Make("Mul",
        Shifted(call, call[0], call.Optional(2) is { } z ? Along(call, z, call[0]) : null), Along(call, call[1], call[0])), OnnxType.Float);

    /// <summary>With a scale of the values that are there: y, scale, zero.</summary>
    public static IReadOnlyList<OnnxOperand> Dynamic(OnnxReadCall call)
    {
        OnnxEmitter emit = call.Emit;
        OnnxOperand x = call[0];
        int[] all = [.. Enumerable.Range(0, x.Rank)];
        OnnxOperand most = emit.Clamp(emit.Reduce("Max", x, all, keep: false), 0, double.PositiveInfinity);
        OnnxOperand least = emit.Clamp(call.Make("Neg", emit.Reduce("Max", call.Make("Neg", x), all, keep: false)), double.NegativeInfinity, 0);
        OnnxOperand scale = emit.Affine(call.Make("Sub", most, least), 1 / 255.0, 0);
        OnnxOperand zero = emit.Clamp(emit.Element(ElementFunction.Round, call.Make("Div", call.Make("Neg", least), scale)), 0, 255);
        return [Rounded(call, x, scale, zero, OnnxType.UInt8), scale, OnnxReadCall.Typed(zero, OnnxType.UInt8)];
    }

    public static OnnxOperand Conv(OnnxReadCall call) => OnnxReadCall.Typed(OnnxReadConv.Of(call, Shifted(call, call[0], call.Optional(2)),
        Shifted(call, call[1], Rows(call, call.Optional(3), call[1].Rank)), null), OnnxType.Int32);

    public static OnnxOperand MatMul(OnnxReadCall call) => OnnxReadCall.Typed(OnnxReadProducts.MatMul(call,
        Shifted(call, call[0], call.Optional(2) is { Dims: [> 1] } z ? Rows(call, z, 2) : call.Optional(2)),
        Shifted(call, call[1], call.Optional(3))), OnnxType.Int32);

    public static OnnxOperand LinearConv(OnnxReadCall call)
    {
        OnnxOperand sums = OnnxReadConv.Of(call, Shifted(call, call[0], call[2]), Shifted(call, call[3], Rows(call, call[5], call[3].Rank)),
            call.Optional(8));
        OnnxOperand scaled = call.Make("Mul", call.Make("Mul", sums, call[1]), Channels(call, call[4], call[0].Rank));
        return Rounded(call, scaled, call[6], call[7], call[7].Type);
    }

    public static OnnxOperand LinearMatMul(OnnxReadCall call)
    {
        OnnxOperand sums = OnnxReadProducts.MatMul(call, Shifted(call, call[0], call[2]), Shifted(call, call[3], call[5]));
        return Rounded(call, call.Make("Mul", call.Make("Mul", sums, call[1]), call[4]), call[6], call[7], call[7].Type);
    }

    private static OnnxOperand Shifted(OnnxReadCall call, OnnxOperand x, OnnxOperand? zero) => zero is null ? x : call.Make("Sub", x, zero);

    private static OnnxOperand Rounded(OnnxReadCall call, OnnxOperand x, OnnxOperand scale, OnnxOperand? zero, OnnxType type)
    {
        (double low, double high) = type switch
        {
            OnnxType.UInt8 => (0, 255), OnnxType.Int8 => (-128, 127), OnnxType.Int16 => (-32768, 32767), OnnxType.UInt16 => (0, 65535),
            _ => throw new InvalidDataException($"it rounds to {type}; whole numbers of 8 and 16 bits are read"),
        };
        OnnxOperand y = call.Emit.Element(ElementFunction.Round, call.Make("Div", x, scale));
        if (zero is not null) y = call.Make("Add", y, zero);
        return OnnxReadCall.Typed(call.Emit.Clamp(y, low, high), type);
    }

    /// <summary>A number for each entry of an axis, beside x.</summary>
    private static OnnxOperand Along(OnnxReadCall call, OnnxOperand list, OnnxOperand x)
    {
        if (call.Node.Int("block_size", 0) != 0) throw new InvalidDataException("it has scales of blocks");
        if (list.Rank != 1 || x.Rank < 2) return list;
        int axis = OnnxArray.Axis(call.Node.Int("axis", 1), x.Rank);
        int[] dims = [list.Dims[0], .. Enumerable.Repeat(1, x.Rank - 1 - axis)];
        return list.IsConstant ? call.Emit.Shaped(list, dims) : call.Emit.Reshape(list, dims, dims);
    }

    private static OnnxOperand? Rows(OnnxReadCall call, OnnxOperand? list, int rank) => list is not { Rank: 1 } ? list
        : Shaped(call, list, [list.Dims[0], .. Enumerable.Repeat(1, rank - 1)]);

    private static OnnxOperand Channels(OnnxReadCall call, OnnxOperand list, int rank) => list is not { Rank: 1 } ? list
        : Shaped(call, list, [list.Dims[0], .. Enumerable.Repeat(1, rank - 2)]);

    private static OnnxOperand Shaped(OnnxReadCall call, OnnxOperand list, int[] dims) =>
        list.IsConstant ? call.Emit.Shaped(list, dims) : call.Emit.Reshape(list, dims, dims);
}
