using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Transposed convolution of maps [N, C, H, W], lines or volumes: a convolution with the turned kernel of x with zeros between
/// its entries and around it. Weight [C, O/groups, kh, kw], a constant.
/// </summary>
internal static class OnnxReadTransposed
{
    public static OnnxOperand Read(OnnxReadCall call)
    {
        OnnxOperand x = call[0], weight = call[1];
        if (x.Rank is not (3 or 4 or 5) || weight.Rank != x.Rank)
            throw new InvalidDataException($"x has {x.Rank} axes and the weight {weight.Rank}");
        if (!weight.IsConstant)
            throw new InvalidDataException("its weight is computed by the network; only a constant is read there");
        int axes = x.Rank - 2, groups = (int)Math.Clamp(call.Node.Int("group", 1), 1, 1 << 16);
        int[] w = weight.Dims, kernel = w[2..];
        if (w[0] != x.Dims[1] || w[0] % groups != 0) throw new InvalidDataException("its weight does not fit x");
        int[] strides = Numbers("strides", axes, 1), dilations = Numbers("dilations", axes, 1),
            more = Numbers("output_padding", axes, 0);
        int[] pads = Pads(call.Node, x.Dims[2..], kernel, strides, dilations, more);
        int[][] two = OnnxMoves.Whole(x.Dims), three = OnnxMoves.Whole(x.DimsOfThree);
        for (int i = 0; i < axes; i++)
        {
            int reach = dilations[i] * (kernel[i] - 1), before = reach - pads[i], after = reach - pads[i + axes] + more[i];
            int length = (x.Dims[i + 2] - 1) * strides[i] + 1, step = strides[i];
            if (length + (long)before + after is < 1 or > 1 << 16)
                throw new InvalidDataException("its result is too small or too large");
            two[i + 2] = three[i + 2] = [.. Enumerable.Range(-before, length + before + after)
                .Select(at => at >= 0 && at < length && at % step == 0 ? at / step : -1)];
        }
        int dilation = dilations[^1];
        if (axes > 1 && dilations[^2] != dilation) throw new InvalidDataException("its dilations differ between rows and columns");
        OnnxOperand spread = OnnxReadMoves.Take(call, x, two, three);
        OpSettings settings = new OpSettings().Set("stride", 1).Set("padding", default(Padding)).Set("dilation", dilation);
        if (axes == 3)
        {
            var depth = new OnnxSlide(spread.Dims[2], kernel[0], 1, dilations[0], 0, 0, 0);
            return OnnxReadVolumes.Sum(call, spread, depth, k => Turned(call, weight, groups, kernel[0] - 1 - k),
                call.Optional(2), settings);
        }
        if (axes == 1) spread = OnnxReadShapes.Shaped(call, spread, spread.Dims[1], 1, spread.Dims[2]);
        OnnxOperand y = call.Emit.Node("Conv2d", settings, spread, Turned(call, weight, groups), call.Optional(2));
        return axes == 1 ? OnnxReadShapes.Shaped(call, y, y.Dims[1], y.Dims[3]) : y;

        int[] Numbers(string name, int count, int otherwise) =>
            call.Node.Ints(name) is not { } list ? [.. Enumerable.Repeat(otherwise, count)]
            : list.Length == count && list.All(n => n is >= 0 and < 1 << 16) && (otherwise == 0 || list.All(n => n > 0)) ? list
            : throw new InvalidDataException($"its attribute '{name}' is [{string.Join(",", list)}]");
    }

    /// <summary>[C, O/groups, kh, kw] as [O, C/groups, kh, kw], from its last entry to its first; of a volume's at one
    /// depth.</summary>
    private static OnnxOperand Turned(OnnxReadCall call, OnnxOperand weight, int groups, int depth = 0)
    {
        int[] w = weight.Dims;
        int inputs = w[0] / groups, outputs = w[1], rows = w.Length == 3 ? 1 : w[^2], taps = rows * w[^1];
        int depths = w.Length == 5 ? w[2] : 1;
        return call.Emit.Weight(weight, depths > 1 ? $"turned.{depth}" : "turned", [outputs * groups, inputs, rows, w[^1]], to =>
        {
            var values = new float[to.Length * depths];
            OnnxEmitter.Read(weight, values);
            for (int g = 0; g < groups; g++)
                for (int o = 0; o < outputs; o++)
                    for (int i = 0; i < inputs; i++)
                        for (int t = 0; t < taps; t++)
                            to[((g * outputs + o) * inputs + i) * taps + t] =
                                values[(((g * inputs + i) * outputs + o) * depths + depth) * taps + taps - 1 - t];
        });
    }

    /// <summary>Cut from the result before and after, along each axis; from its length, where that is given.</summary>
    private static int[] Pads(OnnxNodeView node, int[] x, int[] kernel, int[] strides, int[] dilations, int[] more)
    {
        int axes = x.Length;
        int[] pads = node.Ints("pads") ?? new int[2 * axes];
        int[]? shape = node.Ints("output_shape");
        string auto = node.Text("auto_pad", "NOTSET");
        if (pads.Length != 2 * axes || shape is not null && shape.Length < axes)
            throw new InvalidDataException("its pads or output_shape do not fit x");
        if (shape is null && !auto.StartsWith("SAME", StringComparison.Ordinal))
            return auto == "VALID" ? new int[2 * axes] : pads;
        for (int i = 0; i < axes; i++)
        {
            int whole = strides[i] * (x[i] - 1) + more[i] + dilations[i] * (kernel[i] - 1) + 1;
            int total = whole - (shape is null ? x[i] * strides[i] : shape[^(axes - i)]);
            // What the result lacks is added behind it.
            if (total < 0) (more[i], total) = (more[i] - total, 0);
            pads[i] = auto == "SAME_UPPER" ? total / 2 : total - total / 2;
            pads[i + axes] = total - pads[i];
        }
        return pads;
    }
}
