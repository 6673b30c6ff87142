using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Convolutions, of maps [N, C, H, W] or lines [N, C, L]; and how windows slide, for pools too.</summary>
internal static class OnnxReadConv
{
    public static OnnxOperand Read(OnnxReadCall call) => Of(call, call[0], call[1], call.Optional(2));

    /// <summary>With operands that may have been computed before.</summary>
    public static OnnxOperand Of(OnnxReadCall call, OnnxOperand x, OnnxOperand weight, OnnxOperand? bias)
    {
        OnnxEmitter emit = call.Emit;
        bool line = x.Rank == 3;
        if (x.Rank is not (3 or 4) || weight.Rank != x.Rank)
            throw new InvalidDataException($"x has {x.Rank} axes and the weight {weight.Rank}; maps [N, C, H, W] and lines [N, C, L] are read");
        int[] kernel = weight.Dims[2..];
        if (x.Dims[1] != (long)weight.Dims[1] * call.Node.Int("group", 1))
            throw new InvalidDataException($"x [{string.Join(",", x.Dims)}] and weight [{string.Join(",", weight.Dims)}] do not fit its group");
        OnnxWindow window = OnnxWindow.Of(call.Node, x.Dims[2..], kernel);
        if (line)
        {
            x = OnnxReadShapes.Shaped(call, x, x.Dims[1], 1, x.Dims[2]);
            weight = emit.Shaped(weight, weight.Dims[0], weight.Dims[1], 1, kernel[0]);
        }
        OpSettings settings = new OpSettings().Set("stride", window.Stride).Set("padding", window.Padding).Set("dilation", window.Dilation);
        OnnxOperand y = emit.Node("Conv2d", settings, x, weight, bias);
        return line ? OnnxReadShapes.Shaped(call, y, y.Dims[1], y.Dims[3]) : y;
    }
}

/// <summary>How a kernel slides: this library has one dilation for rows and columns.</summary>
/// <param name="Extra">Rows and columns that only ceil_mode adds at the end.</param>
internal sealed record OnnxWindow(Strides Stride, int Dilation, Padding Padding, (int Rows, int Columns) Extra)
{
    private const int Largest = 1 << 20;

    /// <param name="size">H and W of the map, or the length of a line.</param>
    public static OnnxWindow Of(OnnxNodeView node, int[] size, int[] kernel)
    {
        int axes = size.Length;
        int[] strides = Numbers("strides", axes, 1), dilations = Numbers("dilations", axes, 1), pads = Numbers("pads", 2 * axes, 0);
        string auto = node.Text("auto_pad", "NOTSET");
        if (auto is not ("NOTSET" or "VALID" or "SAME_UPPER" or "SAME_LOWER"))
            throw new InvalidDataException($"its auto_pad is {Formats.ReadGuard.Quote(auto)}");
        if (auto == "VALID") Array.Clear(pads);
        int[] extra = new int[axes];
        for (int i = 0; i < axes; i++)
        {
            if (strides[i] < 1 || dilations[i] < 1) throw new InvalidDataException("its strides or dilations are below 1");
            long reach = (long)dilations[i] * (kernel[i] - 1) + 1;
            if (auto.StartsWith("SAME", StringComparison.Ordinal))
            {
                int total = (int)Math.Clamp((((long)size[i] + strides[i] - 1) / strides[i] - 1) * strides[i] + reach - size[i], 0, Largest);
                pads[i] = auto == "SAME_UPPER" ? total / 2 : total - total / 2;
                pads[i + axes] = total - pads[i];
            }
            if (node.Int("ceil_mode", 0) == 0) continue;
            long room = size[i] + pads[i] + pads[i + axes] - reach, steps = (room + strides[i] - 1) / strides[i];
            // A window must begin before the border behind the map.
            if (steps * strides[i] >= (long)size[i] + pads[i]) steps--;
            extra[i] = (int)Math.Clamp(steps * strides[i] - room, 0, Largest);
        }
        if (axes == 1)
            return new OnnxWindow(strides[0], dilations[0], new Padding(0, 0, pads[0], pads[1]), (0, extra[0]));
        return dilations[0] != dilations[1]
            ? throw new InvalidDataException($"its dilations [{string.Join(",", dilations)}] differ between rows and columns")
            : new OnnxWindow(new Strides(strides[0], strides[1]), dilations[0], new Padding(pads[0], pads[2], pads[1], pads[3]), (extra[0], extra[1]));

        int[] Numbers(string name, int count, int otherwise) => node.Ints(name) is not { } list ? [.. Enumerable.Repeat(otherwise, count)]
            : list.Length == count && list.All(n => Math.Abs((long)n) <= Largest) ? list
            : throw new InvalidDataException($"its attribute '{name}' is [{string.Join(",", list)}]");
    }
}
