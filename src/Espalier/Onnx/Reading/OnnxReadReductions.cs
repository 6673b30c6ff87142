namespace Espalier.Onnx;

/// <summary>Sums, means and maxima along axes.</summary>
internal static class OnnxReadReductions
{
    /// <param name="before">An op on each number before they are put together.</param>
    public static OnnxOperand Read(OnnxReadCall call, string op, string? before = null)
    {
        OnnxOperand x = before is null ? call[0] : call.Make(before, call[0]);
        int[] axes = OnnxFoldReduce.Axes(call.Node, x.Rank, call.Fixed(1));
        return axes.Length == 0 ? x : call.Emit.Reduce(op, x, axes, call.Node.Int("keepdims", 1) != 0);
    }

    /// <summary>ln Σ e^(x - max) + max.</summary>
    public static OnnxOperand LogSumExp(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        int[] axes = OnnxFoldReduce.Axes(call.Node, x.Rank, call.Fixed(1));
        bool keep = call.Node.Int("keepdims", 1) != 0;
        OnnxOperand max = call.Emit.Reduce("Max", x, axes, keep: true);
        OnnxOperand sum = call.Emit.Reduce("Sum", call.Make("Exp", call.Make("Sub", x, max)), axes, keep);
        return call.Make("Add", call.Make("Log", sum), keep ? max : call.Emit.Reduce("Max", x, axes, keep: false));
    }
}
