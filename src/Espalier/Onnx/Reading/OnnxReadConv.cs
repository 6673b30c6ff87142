using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Convolutions, of maps [N, C, H, W], lines [N, C, L] or volumes [N, C, D, H, W].</summary>
internal static class OnnxReadConv
{
    public static OnnxOperand Read(OnnxReadCall call) => Of(call, call[0], call[1], call.Optional(2));

    /// <summary>With operands that may have been computed before.</summary>
    public static OnnxOperand Of(OnnxReadCall call, OnnxOperand x, OnnxOperand weight, OnnxOperand? bias)
    {
        OnnxEmitter emit = call.Emit;
        bool line = x.Rank == 3;
        if (x.Rank is not (3 or 4 or 5) || weight.Rank != x.Rank)
            throw new InvalidDataException($"x has {x.Rank} axes and the weight {weight.Rank}; lines, maps and volumes are read");
        int[] kernel = weight.Dims[2..];
        if (x.Dims[1] != (long)weight.Dims[1] * call.Node.Int("group", 1))
            throw new InvalidDataException($"x [{string.Join(",", x.Dims)}] and weight [{string.Join(",", weight.Dims)}] do not fit its group");
        if (x.Rank == 5) return OnnxReadVolumes.Conv(call, x, weight, bias);
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
