using System.Diagnostics.CodeAnalysis;
using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Whole numbers of 8 bits and the scales that they stand for; computed as floats, which hold them exactly.</summary>
internal static class OnnxReadQuantised
{
    /// <summary>round(x / scale) + zero, cut to the type's range.</summary>
    public static OnnxOperand Quantise(OnnxReadCall call)
    {
        // Without a zero point the type is an attribute, since opset 21.
        OnnxType type = call.Optional(2)?.Type ?? (call.Node.Int("output_dtype", 0) is not 0 and var named ? (OnnxType)named : OnnxType.UInt8);
        if (IsKnown(call, 1, 2) && !call[0].Varies)
            return Codes(call, call[0], call[1], call.Optional(2), type, call.Node.Int("axis", 1));
        return Rounded(call, call[0], Along(call, call[1], call[0]), call.Optional(2) is { } z ? Along(call, z, call[0]) : null,
            type);
    }

    /// <summary>Codes that a node before made are the numbers that those stand for; codes of the file are a weight of few bits.
    /// </summary>
    public static OnnxOperand Dequantise(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        if (IsKnown(call, 1, 2))
        {
            if (x.Codes is { } codes && codes.Is(call[1], call.Optional(2))) return codes.Number!;
            if (x.IsConstant && OnnxFewBits.Of(x, call[1], call.Optional(2), call.Node.Int("axis", 1))
                is { } weight) return weight.Read(call.Emit);
        }
        return OnnxReadCall.Typed(call.Make("Mul", Shifted(call, x, call.Optional(2) is { } z ? Along(call, z, x) : null),
            Along(call, call[1], x)), OnnxType.Float);
    }

    /// <summary>With a scale of the values that are there: y, scale, zero.</summary>
    public static IReadOnlyList<OnnxOperand> Dynamic(OnnxReadCall call)
    {
        OnnxEmitter emit = call.Emit;
        OnnxOperand x = call[0];
        int[] all = [.. Enumerable.Range(0, x.Rank)];
        OnnxOperand most = emit.Clamp(emit.Reduce("Max", x, all, keep: false), 0, double.PositiveInfinity);
        OnnxOperand least = emit.Clamp(call.Make("Neg", emit.Reduce("Max", call.Make("Neg", x), all, keep: false)),
            double.NegativeInfinity, 0);
        OnnxOperand scale = emit.Affine(call.Make("Sub", most, least), 1 / 255.0, 0);
        OnnxOperand zero = emit.Clamp(emit.Element(ElementFunction.Round, call.Make("Div", call.Make("Neg", least), scale)), 0,
            255);
        return [Rounded(call, x, scale, zero, OnnxType.UInt8), scale, OnnxReadCall.Typed(zero, OnnxType.UInt8)];
    }

    public static OnnxOperand Conv(OnnxReadCall call) => OnnxReadCall.Typed(OnnxReadConv.Of(call, Shifted(call, call[0],
        call.Optional(2)),
        Shifted(call, call[1], Rows(call, call.Optional(3), call[1].Rank)), null), OnnxType.Int32);

    public static OnnxOperand MatMul(OnnxReadCall call) => OnnxReadCall.Typed(OnnxReadProducts.MatMul(call,
        Shifted(call, call[0], call.Optional(2) is { Dims: [> 1] } z ? Rows(call, z, 2) : call.Optional(2)),
        Shifted(call, call[1], call.Optional(3))), OnnxType.Int32);

    public static OnnxOperand LinearConv(OnnxReadCall call)
    {
        if (Numbers(call, weightAxis: 0) is { } n)
        {
            OnnxOperand? bias = call.Optional(8) is { } b ? n.Weight.Bias(call.Emit, b, call[1]) : null;
            return Codes(call, OnnxReadConv.Of(call, n.X, n.Weight.Read(call.Emit), bias), call[6], call[7], call[7].Type, 1);
        }
        OnnxOperand sums = OnnxReadConv.Of(call, Shifted(call, call[0], call[2]), Shifted(call, call[3], Rows(call, call[5],
            call[3].Rank)),
            call.Optional(8));
        OnnxOperand scaled = call.Make("Mul", call.Make("Mul", sums, call[1]), Rows(call, call[4], call[0].Rank - 1));
        return Rounded(call, scaled, call[6], call[7], call[7].Type);
    }

    public static OnnxOperand LinearMatMul(OnnxReadCall call)
    {
        if (call[3].Rank == 2 && Numbers(call, weightAxis: 1) is { } n)
            return Codes(call, OnnxReadProducts.Linear(call.Emit, n.X, n.Weight.Read(call.Emit, transposed: true), null),
                call[6], call[7], call[7].Type, 1);
        OnnxOperand sums = OnnxReadProducts.MatMul(call, Shifted(call, call[0], call[2]), Shifted(call, call[3], call[5]));
        return Rounded(call, call.Make("Mul", call.Make("Mul", sums, call[1]), call[4]), call[6], call[7], call[7].Type);
    }

    /// <summary>Operands 0 to 5 as the numbers that they stand for, where they are made by a node before and a weight.</summary>
    private static (OnnxOperand X, OnnxFewBits Weight)? Numbers(OnnxReadCall call, int weightAxis)
    {
        bool known = IsKnown(call, 1, 2) && IsKnown(call, 4, 5) && IsKnown(call, 6, 7) && call[3].IsConstant;
        if (!known || call[0].Codes is not { } codes || !codes.Is(call[1], call[2])) return null;
        return OnnxFewBits.Of(call[3], call[4], call[5], weightAxis) is { } weight ? (codes.Number!, weight) : null;
    }

    /// <summary>Whether scale and zero point are constants, and not of blocks.</summary>
    private static bool IsKnown(OnnxReadCall call, int scale, int zero) => call[scale] is { IsConstant: true, Varies: false,
        Rank: <= 1 }
        && call.Optional(zero) is null or { IsConstant: true, Varies: false, Rank: <= 1 } && call.Node.Int("block_size", 0) == 0;

    /// <summary>An op that rounds to codes and back, and the codes of what it gives for whoever asks for those.</summary>
    private static OnnxOperand Codes(OnnxReadCall call, OnnxOperand x, OnnxOperand scale, OnnxOperand? zero, OnnxType type,
        long axis)
    {
        // A weight that is rounded as the network runs: training for few bits leaves it so.
        OnnxOperand number = x.IsConstant ? new OnnxFewBits(x, scale, zero, type, axis).Read(call.Emit)
            : OnnxFewBits.Quantised(call.Emit, x, scale, zero, type, axis);
        if (x.IsConstant) x = number;
        OnnxOperand codes = call.Emit.Element(ElementFunction.Round, call.Make("Div", number, Along(call, scale, x)));
        if (zero is not null) codes = call.Make("Add", codes, Along(call, zero, x));
        return new OnnxOperand
        {
            Name = codes.Name, Type = type, Value = codes.Value, More = codes.More, Codes = new OnnxCodes(number, scale, zero),
        };
    }

    private static OnnxOperand Shifted(OnnxReadCall call, OnnxOperand x, OnnxOperand? zero) => zero is null ? x : call.Make(
        "Sub", x, zero);

    private static OnnxOperand Rounded(OnnxReadCall call, OnnxOperand x, OnnxOperand scale, OnnxOperand? zero, OnnxType type)
    {
        var (low, high) = OnnxFewBits.Range(type);
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
        return call.Emit.Shaped(list, [list.Dims[0], .. Enumerable.Repeat(1, x.Rank - 1 - axis)]);
    }

    /// <summary>A number for each entry of the first of so many axes.</summary>
    [return: NotNullIfNotNull(nameof(list))]
    private static OnnxOperand? Rows(OnnxReadCall call, OnnxOperand? list, int rank) => list is not { Rank: 1 } ? list
        : call.Emit.Shaped(list, [list.Dims[0], .. Enumerable.Repeat(1, rank - 1)]);
}
