using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Normalisations.</summary>
internal static class OnnxReadNorms
{
    public static OnnxOperand Batch(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        bool training = call.Node.Opset < 7 ? call.Node.Int("is_test", 0) == 0 : call.Node.Int("training_mode", 0) != 0;
        if (training) throw new InvalidDataException("is in training mode");
        if (call.Node.Int("spatial", 1) == 0) throw new InvalidDataException("normalises every pixel for itself");
        float momentum = Math.Clamp(1 - call.Node.Float("momentum", 0.9f), 0, 1);
        // Statistics follow the images in training, so that they are no other weight's tensor, whatever the file writes once.
        string own = $"statistic.{call.Node.Source.Outputs[0]}";
        OnnxOperand[] vectors = [.. Enumerable.Range(1, 4).Select(i => !call[i].IsConstant ? call[i]
            : i < 3 || call[i].Varies ? call.Emit.Weight(call[i])
            : call.Emit.Weight(call[i], $"{own}.{i}", call[i].Dims, to => OnnxEmitter.Read(call[i], to)))];
        foreach (OnnxOperand statistic in vectors[2..])
            if (statistic.Value!.IsWeight) statistic.Value.Tensor.RequiresGrad = false;
        return AsMaps(call, x, maps => call.Emit.Node("BatchNorm2d",
            new OpSettings().Set("momentum", momentum).Set("epsilon", call.Node.Float("epsilon", 1e-5f)), [maps, .. vectors]));
    }

    /// <summary>Mean and deviation, where the file asks for them, are computed beside it.</summary>
    public static IReadOnlyList<OnnxOperand> Layer(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        OnnxEmitter emit = call.Emit;
        int axis = OnnxArray.Axis(call.Node.Int("axis", -1), x.Rank), width = x.Dims[axis..].Aggregate(1, (a, n) => a * n);
        float epsilon = call.Node.Float("epsilon", 1e-5f);
        OnnxOperand gamma = Vector(call, call[1], width);
        OnnxOperand beta = call.Has(2) ? Vector(call, call[2], width) : emit.Made([width], _ => 0);
        OnnxOperand rows = emit.Reshape(x, [.. x.Dims[..axis], width], [.. x.DimsOfThree[..axis], width]);
        OnnxOperand y =
            emit.Reshape(emit.Node("LayerNorm", new OpSettings().Set("epsilon", epsilon).Set("width", width), rows, gamma, beta),
            x.Dims, x.DimsOfThree);
        if (call.Node.Source.Outputs.Count < 2) return [y];
        int[] axes = [.. Enumerable.Range(axis, x.Rank - axis)];
        OnnxOperand mean = emit.Reduce("Mean", x, axes, keep: true);
        OnnxOperand variance = emit.Reduce("Mean", call.Make("Square", call.Make("Sub", x, mean)), axes, keep: true);
        OnnxOperand deviation = emit.Element(ElementFunction.Reciprocal, call.Make("Sqrt", emit.Affine(variance, 1, epsilon)));
        return [y, mean, deviation];
    }

    public static OnnxOperand Instance(OnnxReadCall call) => Grouped(call, 1, call[1], call[2]);

    /// <summary>Scale and shift are of each group in opset 18, of each channel since 21.</summary>
    public static OnnxOperand Group(OnnxReadCall call)
    {
        int channels = call[0].Dims[1];
        long groups = call.Node.Int("num_groups", 0);
        if (groups < 1 || channels % groups != 0)
            throw new InvalidDataException($"{channels} channels do not divide into {groups} groups");
        int size = (int)(channels / groups);
        OnnxOperand Each(int operand) => call[operand].Dims is [var n] && n == channels ? call[operand]
            : call.Fixed(operand) is { } list && list.Values.Length == groups
                ? call.Emit.Weight(OnnxOperand.Constant(call[operand].Name, new OnnxArray(list.Type, [channels],
                    [.. Enumerable.Range(0, channels).Select(c => list.Values[c / size])]), isWeight: true))
                : throw new InvalidDataException("its scale or shift is neither of groups nor of channels");
        return Grouped(call, size, Each(1), Each(2));
    }

    /// <summary>x / sqrt(mean x² + epsilon) · scale.</summary>
    public static OnnxOperand Rms(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        int axis = OnnxArray.Axis(call.Node.Int("axis", -1), x.Rank);
        OnnxOperand mean =
            call.Emit.Reduce("Mean", call.Make("Square", x), [.. Enumerable.Range(axis, x.Rank - axis)], keep: true);
        OnnxOperand root = call.Make("Sqrt", call.Emit.Affine(mean, 1, call.Node.Float("epsilon", 1e-5f)));
        return call.Make("Mul", call.Make("Div", x, root), call[1]);
    }

    /// <summary>x / (bias + alpha/size · the squares of neighbouring channels)^beta.</summary>
    public static OnnxOperand LocalResponse(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        long size = call.Node.Int("size", 0), before = (size - 1) / 2, after = size - 1 - before;
        int channels = x.Dims[1];
        OnnxOperand band =
            call.Emit.Made([channels, channels], i => i % channels - i / channels is var d && d >= -before && d <= after ? 1 : 0);
        OnnxOperand sums = OnnxReadResize.Along(call, call.Make("Square", x), 1, band);
        OnnxOperand scaled =
            call.Emit.Affine(sums, call.Node.Float("alpha", 1e-4f) / Math.Max(1, size), call.Node.Float("bias", 1));
        return call.Make("Div", x,
            call.Emit.Node("Pow", new OpSettings().Set("exponent", call.Node.Float("beta", 0.75f)), scaled));
    }

    public static OnnxOperand Lp(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        int axis = OnnxArray.Axis(call.Node.Int("axis", -1), x.Rank);
        bool one = call.Node.Int("p", 2) == 1;
        OnnxOperand sum = call.Emit.Reduce("Sum", call.Make(one ? "Abs" : "Square", x), [axis], keep: true);
        return call.Make("Div", x, one ? sum : call.Make("Sqrt", sum));
    }

    private static OnnxOperand Grouped(OnnxReadCall call, int size, OnnxOperand gamma, OnnxOperand beta) =>
        AsMaps(call, call[0], maps => call.Emit.Node("GroupNorm",
            new OpSettings().Set("size", size).Set("epsilon", call.Node.Float("epsilon", 1e-5f)), maps, gamma, beta));

    /// <summary>What is not [N, C] or a map as one, [N, C, L, 1].</summary>
    private static OnnxOperand AsMaps(OnnxReadCall call, OnnxOperand x, Func<OnnxOperand, OnnxOperand> norm)
    {
        if (x.Rank == 4 || (x.Rank == 2 && call.Node.Operator == "BatchNormalization")) return norm(x);
        if (x.Rank < 2) throw new InvalidDataException("x has no channels");
        int rest = x.Dims[2..].Aggregate(1, (a, n) => a * n);
        return call.Emit.Reshape(norm(OnnxReadShapes.Shaped(call, x, x.Dims[1], rest, 1)), x.Dims, x.DimsOfThree);
    }

    private static OnnxOperand Vector(OnnxReadCall call, OnnxOperand x, int width)
    {
        if (!x.IsConstant || OnnxArray.Count(x.Dims) == width) return call.Emit.Shaped(x, width);
        OnnxArray two = x.Two;
        return two.Values.Length == 1 ? call.Emit.Made([width], _ => two.Values[0])
            : throw new InvalidDataException($"its scale or shift [{string.Join(",", x.Dims)}] is not of {width} numbers");
    }
}
