using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>The largest or the mean value under a window, or of all of a map.</summary>
internal static class OnnxReadPools
{
    public static OnnxOperand Max(OnnxReadCall call)
    {
        if (Window(call) is not var (x, kernel, window)) return OnnxReadAnyPools.Max(call);
        Padding p = window.Padding;
        p = new Padding(p.Top, p.Bottom + window.Extra.Rows, p.Left, p.Right + window.Extra.Columns);
        return Back(call, call.Emit.Node("MaxPool2d",
            new OpSettings().Set("kernel", kernel).Set("stride", window.Stride).Set("padding", p), x));
    }

    public static OnnxOperand Average(OnnxReadCall call)
    {
        if (Window(call) is not var (x, kernel, window)) return OnnxReadAnyPools.Average(call);
        Padding p = window.Padding;
        bool counts = call.Node.Int("count_include_pad", 0) != 0;
        // Of lines, rows below make the window square, which are never counted; nor is what ceil_mode adds.
        bool line = call[0].Rank == 3, more = window.Extra != (0, 0);
        if (counts && (line ? (p.Left | p.Right) != 0 : more && p != default)) return OnnxReadAnyPools.Average(call);
        counts = counts && !line && !more;
        p = new Padding(p.Top, p.Bottom + window.Extra.Rows, p.Left, p.Right + window.Extra.Columns);
        return Back(call,
            call.Emit.Node("AvgPool2d", new OpSettings().Set("kernel", kernel).Set("stride", window.Stride).Set("padding", p)
            .Set("countIncludePad", counts), x));
    }

    /// <summary>[N, C, ..] -> [N, C, 1, ..].</summary>
    public static OnnxOperand GlobalAverage(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        if (x.Rank != 4) return call.Emit.Reduce("Mean", x, [.. Enumerable.Range(2, Math.Max(0, x.Rank - 2))], keep: true);
        return OnnxReadShapes.Shaped(call, call.Make("GlobalAvgPool2d", x), x.Dims[1], 1, 1);
    }

    /// <summary>The one row of maps that were lines.</summary>
    private static OnnxOperand Back(OnnxReadCall call, OnnxOperand y) =>
        call[0].Rank == 3 ? OnnxReadShapes.Shaped(call, y, y.Dims[1], y.Dims[3]) : y;

    /// <summary>Null where the graph's own ops have no such window.</summary>
    private static (OnnxOperand X, int Kernel, OnnxWindow Window)? Window(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        int[] kernel = call.Node.Ints("kernel_shape") ?? throw new InvalidDataException("it has no kernel_shape");
        if (x.Rank == 3 && kernel is [>= 1 and < 1 << 12 and var length])
        {
            OnnxWindow line = OnnxWindow.Of(call.Node, x.Dims[2..], kernel);
            // One row, with as many empty ones below it as make the window square.
            return line.Dilation != 1 ? null : (OnnxReadShapes.Shaped(call, x, x.Dims[1], 1, x.Dims[2]), length,
                line with { Padding = line.Padding with { Bottom = length - 1 } });
        }
        bool same(string name) => call.Node.Ints(name) is not { } list || list.Distinct().Count() <= 1;
        if (x.Rank != 4 || kernel is not [>= 1 and <= 1 << 12 and var side, var columns] || columns != side || !same("strides")
            || !same("dilations"))
            return null;
        OnnxWindow window = OnnxWindow.Of(call.Node, x.Dims[2..], kernel);
        return window.Dilation == 1 ? (x, side, window) : null;
    }
}
