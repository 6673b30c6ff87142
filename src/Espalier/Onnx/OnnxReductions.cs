using Espalier.Formats.Onnx;

namespace Espalier.Onnx;

/// <summary>Sums, means and maxima over axes.</summary>
internal static class OnnxReductions
{
    /// <summary>Since this opset the axes are an input; those of ReduceSum have been before.</summary>
    private const int AxesOpset = 18;

    public static string Write(OnnxCall call, string type)
    {
        int[] axes = call.Settings.Ints("axes");
        bool keep = call.Settings.Bool("keepDims");
        if (type == "ReduceMean" && axes is [2, 3] && call.Shape(0).Rank == 4 && !call.Tokens) return MeanOfPlanes(call, keep);
        long[] places = [.. axes.Select(call.Axis)];
        return Reduce(call, type, call.Name, call[0], places, keep);
    }

    /// <summary>The length of each row, [.., D] -> [..].</summary>
    public static string Norm(OnnxCall call)
    {
        string squares = call.Part("squares", "Mul", [call[0], call[0]]);
        string sum = Part(call, "sum", "ReduceSum", squares, [-1], keep: false);
        return call.Result("Sqrt", [sum]);
    }

    /// <summary>A maximum, a mean or a sum on the way to a result.</summary>
    public static string Part(OnnxCall call, string what, string type, string x, long[] axes, bool keep) =>
        Reduce(call, type, call.Constants.Free($"{call.Name}.{what}"), x, axes, keep);

    /// <summary>A mean on the way to a result; the axes are kept.</summary>
    public static string Mean(OnnxCall call, string what, string x, long[] axes) =>
        Part(call, what, "ReduceMean", x, axes, keep: true);

    private static string Reduce(OnnxCall call, string type, string name, string x, long[] axes, bool keep)
    {
        OnnxAttribute kept = OnnxAttribute.Int("keepdims", keep ? 1 : 0);
        return call.Opset >= AxesOpset || type == "ReduceSum" ? call.Writer.File.Node(type, name, [x, call.Ints(axes)], kept)
            : call.Writer.File.Node(type, name, [x], OnnxAttribute.Ints("axes", axes), kept);
    }

    /// <summary>[N, C, H, W] -> [N, C, 1, 1], or [N, C] where the axes are not kept.</summary>
    public static string MeanOfPlanes(OnnxCall call, bool keep) => keep ? call.Result("GlobalAveragePool", [call[0]])
        : call.Result("Flatten", [call.Part("pool", "GlobalAveragePool", [call[0]])]);
}
