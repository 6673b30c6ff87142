using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Models.Onnx;

/// <summary>Layers with weights, and windows over maps.</summary>
internal static class OnnxLayers
{
    public static string Conv(OnnxGraph graph, OnnxValues values, Conv2dOp op)
    {
        Tensor weight = op.Inputs[1];
        return graph.Node("Conv", values.NameOf(op), [.. op.Inputs.Select(x => values[x])],
            OnnxAttribute.Ints("kernel_shape", weight.Shape[2], weight.Shape[3]),
            OnnxAttribute.Ints("strides", op.Stride, op.Stride),
            Pads(op.Padding),
            OnnxAttribute.Ints("dilations", op.Dilation, op.Dilation),
            OnnxAttribute.Int("group", op.Groups));
    }

    /// <summary>A node of its own: runtimes put it into the convolution before it where there is one.</summary>
    public static string BatchNorm(OnnxGraph graph, OnnxValues values, BatchNorm2dOp op) =>
        graph.Node("BatchNormalization", values.NameOf(op), [.. op.Inputs.Select(x => values[x])],
            OnnxAttribute.Float("epsilon", op.Epsilon));

    public static string Linear(OnnxGraph graph, OnnxValues values, LinearOp op)
    {
        if (op.Gelu || op.Residual is not null)
            throw new EspalierException($"{op.Name}: with GELU or a residual it cannot be written as ONNX; networks of the "
                + "presets have neither");
        return graph.Node("Gemm", values.NameOf(op), [.. op.Inputs.Select(x => values[x])], OnnxAttribute.Int("transB", 1));
    }

    public static string MaxPool(OnnxGraph graph, OnnxValues values, MaxPool2dOp op) =>
        graph.Node("MaxPool", values.NameOf(op), [values[op.Inputs[0]]],
            OnnxAttribute.Ints("kernel_shape", op.Kernel, op.Kernel),
            OnnxAttribute.Ints("strides", op.Stride, op.Stride),
            Pads(op.Padding));

    public static string AveragePool(OnnxGraph graph, OnnxValues values, AvgPool2dOp op) =>
        graph.Node("AveragePool", values.NameOf(op), [values[op.Inputs[0]]],
            OnnxAttribute.Ints("kernel_shape", op.Kernel, op.Kernel),
            OnnxAttribute.Ints("strides", op.Stride, op.Stride),
            Pads(op.Padding),
            OnnxAttribute.Int("count_include_pad", op.CountIncludePad ? 1 : 0));

    /// <summary>[N, C, H, W] -> [N, C, 1, 1], or [N, C] where the axes are not kept.</summary>
    public static string MeanOfPlanes(OnnxGraph graph, OnnxValues values, Op op, bool keep)
    {
        string x = values[op.Inputs[0]], name = values.NameOf(op);
        if (keep) return graph.Node("GlobalAveragePool", name, [x]);
        return graph.Node("Flatten", name, [graph.Node("GlobalAveragePool", name + ".pool", [x])]);
    }

    private static OnnxAttribute Pads(Padding p) => OnnxAttribute.Ints("pads", p.Top, p.Left, p.Bottom, p.Right);
}
