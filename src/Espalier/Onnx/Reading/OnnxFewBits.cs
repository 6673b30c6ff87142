using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Scale and zero point of codes that the network computes, and the numbers that those stand for.</summary>
internal sealed record OnnxCodes(OnnxOperand? Number, OnnxOperand Scale, OnnxOperand? Zero)
{
    /// <summary>Whether these are the same numbers.</summary>
    public bool Is(OnnxOperand scale, OnnxOperand? zero) => scale.IsConstant && zero is null or { IsConstant: true }
        && Scale.Two.Values.AsSpan().SequenceEqual(scale.Two.Values) && Zeros(Zero, zero).AsSpan().SequenceEqual(Zeros(zero,
            Zero));

    private static double[] Zeros(OnnxOperand? zero, OnnxOperand? other) =>
        zero?.Two.Values ?? new double[other?.Two.Values.Length ?? 1];
}

/// <summary>A weight that a file holds as whole numbers with scales: the weight of what they stand for, and the op that says so.
/// </summary>
internal sealed class OnnxFewBits
{
    private readonly OnnxOperand codes, scale;
    private readonly OnnxOperand? zero;
    private readonly int axis;
    private readonly OnnxType type;

    /// <summary>A weight of floats that is rounded to codes of a type.</summary>
    public OnnxFewBits(OnnxOperand floats, OnnxOperand scale, OnnxOperand? zero, OnnxType type, long axis) : this(floats, scale, zero,
        AxisOf(scale, axis, floats.Rank)) => this.type = type;

    private OnnxFewBits(OnnxOperand codes, OnnxOperand scale, OnnxOperand? zero, int axis) =>
        (this.codes, this.scale, this.zero, this.axis, type) = (codes, scale, zero, axis, codes.Type);

    /// <summary>Null where the constant is of another type.</summary>
    /// <param name="axis">That of the scales, where there are several.</param>
    /// <exception cref="InvalidDataException">Its scales are not as many.</exception>
    public static OnnxFewBits? Of(OnnxOperand codes, OnnxOperand scale, OnnxOperand? zero, long axis)
    {
        if (codes.Type is not (OnnxType.Int8 or OnnxType.UInt8 or OnnxType.Int4 or OnnxType.UInt4 or OnnxType.Int32)
            || codes.Varies) return null;
        int at = AxisOf(scale, axis, codes.Rank);
        if ((at >= 0 && Count(scale) != codes.Dims[at]) || (zero is not null && Count(zero) != Count(scale)))
            throw new InvalidDataException($"{Count(scale)} scales for [{string.Join(",", codes.Dims)}] along axis {at}");
        return new OnnxFewBits(codes, scale, zero, at);
    }

    /// <summary>The least and largest code of a type.</summary>
    public static (int Low, int High) Range(OnnxType type) => type switch
    {
        OnnxType.UInt8 => (0, 255), OnnxType.Int8 => (-128, 127), OnnxType.Int16 => (-32768, 32767), OnnxType.UInt16 => (0,
            65535),
        OnnxType.Int4 => (-8, 7), OnnxType.UInt4 => (0, 15),
        _ => throw new InvalidDataException($"it rounds to {type}; whole numbers of 4, 8 and 16 bits are read"),
    };

    /// <summary>x, rounded to codes and back.</summary>
    public static OnnxOperand Quantised(OnnxEmitter emit, OnnxOperand x, OnnxOperand scale, OnnxOperand? zero, OnnxType type,
        long axis)
    {
        var (low, high) = Range(type);
        int at = AxisOf(scale, axis, x.Rank);
        OpSettings settings = new OpSettings().Set("low", low).Set("high", high).Set("axis", at);
        int[] dims = at < 0 ? [] : scale.Dims;
        return emit.Node("Quantise", settings, x, emit.Shaped(scale, dims), zero is null ? null : emit.Shaped(zero, dims));
    }

    /// <summary>The weight as the network reads it.</summary>
    /// <param name="transposed">Whether a matrix [in, out] is wanted as [out, in].</param>
    public OnnxOperand Read(OnnxEmitter emit, bool transposed = false)
    {
        OnnxOperand weight = type != codes.Type ? transposed ? emit.Transposed(codes) : emit.Weight(codes) : Numbers(emit, transposed);
        weight.Value!.Tensor.RequiresGrad = true;
        if (codes.Type == OnnxType.Int32)
            return new OnnxOperand { Name = weight.Name, Type = OnnxType.Float, Value = weight.Value, More = weight.More,
                IsWeight = true };
        OnnxOperand read = Quantised(emit, weight, scale, zero, type, transposed && axis >= 0 ? 1 - axis : axis);
        return new OnnxOperand { Name = read.Name, Type = OnnxType.Float, Value = read.Value, More = read.More, FewBits = this };
    }

    /// <summary>What the codes stand for.</summary>
    private OnnxOperand Numbers(OnnxEmitter emit, bool transposed)
    {
        int[] dims = codes.Dims;
        // By the scales too: one list of codes may stand for several weights.
        string form = $"numbers.{scale.Name}" + (zero is null ? "" : $".{zero.Name}") + (transposed ? ".transposed" : "");
        return emit.Weight(Plain(), form, transposed ? [dims[1],
            dims[0]] : dims, to =>
        {
            float[] values = new float[to.Length];
            OnnxEmitter.Read(codes, values);
            Scale(values);
            if (transposed) values = OnnxConstants.Transposed<float>(values, dims[0], dims[1]);
            values.CopyTo(to);
        });
    }

    /// <summary>A bias in the scale of the sums of products with this weight.</summary>
    public OnnxOperand Bias(OnnxEmitter emit, OnnxOperand bias, OnnxOperand inputScale)
    {
        double[] input = inputScale.Two.Values, own = scale.Two.Values;
        OnnxOperand weight = emit.Weight(bias, $"numbers.{inputScale.Name}.{scale.Name}", bias.Dims, to =>
        {
            OnnxEmitter.Read(bias, to);
            for (int i = 0; i < to.Length; i++) to[i] *= (float)input[0] * (float)own[own.Length == 1 ? 0 : i];
        });
        weight.Value!.Tensor.RequiresGrad = true;
        return weight;
    }

    /// <summary>The axis of several scales; -1 of one. A list has no other axis than its own.</summary>
    private static int AxisOf(OnnxOperand scale, long axis, int rank) =>
        Count(scale) == 1 ? -1 : rank == 1 ? 0 : OnnxArray.Axis(axis, rank);

    private static int Count(OnnxOperand list) => OnnxArray.Count(list.Dims);

    /// <summary>The codes under the name of the weight that they are of.</summary>
    private OnnxOperand Plain()
    {
        string name = codes.Name;
        foreach (string end in (string[])[".codes", "_quantized"])
            if (name.EndsWith(end, StringComparison.Ordinal) && name.Length > end.Length) name = name[..^end.Length];
        return name == codes.Name ? codes : named ??= codes.Named(name);
    }

    private OnnxOperand? named;

    private void Scale(float[] values)
    {
        double[] scales = scale.Two.Values, zeros = zero?.Two.Values ?? [0];
        int inner = 1;
        for (int i = axis + 1; i < codes.Rank && axis >= 0; i++) inner *= codes.Dims[i];
        for (int i = 0; i < values.Length; i++)
        {
            int entry = axis < 0 ? 0 : i / inner % scales.Length;
            values[i] = (values[i] - (float)zeros[zeros.Length == 1 ? 0 : entry]) * (float)scales[entry];
        }
    }
}
