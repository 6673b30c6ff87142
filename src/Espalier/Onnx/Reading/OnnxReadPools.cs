using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>The largest or the mean value under a window, or of all of a map.</summary>
internal static class OnnxReadPools
{
    public static OnnxOperand Max(OnnxReadCall call)
    {
        var (x, kernel, window) = Window(call);
        Padding p = window.Padding;
        p = new Padding(p.Top, p.Bottom + window.Extra.Rows, p.Left, p.Right + window.Extra.Columns);
        return Back(call, call.Emit.Node("MaxPool2d",
            new OpSettings().Set("kernel", kernel).Set("stride", window.Stride).Set("padding", p), x));
    }

    public static OnnxOperand Average(OnnxReadCall call)
    {
        var (x, kernel, window) = Window(call);
        Padding p = window.Padding;
        bool counts = call.Node.Int("count_include_pad", 0) != 0;
        if (call[0].Rank == 3)
        {
            // Rows below a line, which make its window square, are never counted.
            if (counts && (p.Left | p.Right) != 0) throw new InvalidDataException("its count_include_pad is not read of lines");
            counts = false;
        }
        if (window.Extra != (0, 0))
        {
            // What ceil_mode adds is never counted.
            if (counts && p != default)
                throw new InvalidDataException("its ceil_mode and count_include_pad are not read together");
            counts = false;
            p = new Padding(p.Top, p.Bottom + window.Extra.Rows, p.Left, p.Right + window.Extra.Columns);
        }
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

    private static (OnnxOperand X, int Kernel, OnnxWindow Window) Window(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        int[] kernel = call.Node.Ints("kernel_shape") ?? throw new InvalidDataException("it has no kernel_shape");
        if (x.Rank == 3 && kernel is [>= 1 and < 1 << 12 and var length])
        {
            OnnxWindow line = OnnxWindow.Of(call.Node, x.Dims[2..], kernel);
            if (line.Dilation != 1) throw new InvalidDataException("its dilations are not 1");
            // One row, with as many empty ones below it as make the window square.
            return (OnnxReadShapes.Shaped(call, x, x.Dims[1], 1, x.Dims[2]), length,
                line with { Padding = line.Padding with { Bottom = length - 1 } });
        }
        if (x.Rank != 4 || kernel.Length != 2 || kernel[0] != kernel[1] || kernel[0] is < 1 or > 1 << 12)
            throw new InvalidDataException(
                $"a window [{string.Join(",", kernel)}] on {x.Rank} axes; square ones on maps [N, C, H, W] are read");
        OnnxWindow window = OnnxWindow.Of(call.Node, x.Dims[2..], kernel);
        if (window.Dilation != 1) throw new InvalidDataException("its dilations are not 1");
        if (window.Stride.Rows != window.Stride.Columns)
            throw new InvalidDataException($"its strides {window.Stride} differ between rows and columns");
        return (x, kernel[0], window);
    }
}
