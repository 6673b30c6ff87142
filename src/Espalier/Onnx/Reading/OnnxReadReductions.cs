using Espalier.Tensors;

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

    /// <summary>The place of the largest entry along an axis, of several the first or the last.</summary>
    public static OnnxOperand Arg(OnnxReadCall call, OnnxOperand x)
    {
        OnnxEmitter emit = call.Emit;
        int axis = OnnxArray.Axis(call.Node.Int("axis", 0), x.Rank), n = x.Dims[axis];
        bool last = call.Node.Int("select_last_index", 0) != 0, keep = call.Node.Int("keepdims", 1) != 0;
        if (n != x.DimsOfThree[axis]) throw new InvalidDataException("it compares images");
        OnnxOperand most = emit.Pair(PairFunction.Equal, x, emit.Reduce("Max", x, [axis], keep: true));
        int[] dims = [n, .. Enumerable.Repeat(1, x.Rank - 1 - axis)];
        // Largest of the places that have it, counted from the end where the first is wanted.
        OnnxOperand places = emit.Made(dims, i => last ? i : n - 1 - i);
        OnnxOperand found = emit.Reduce("Max", call.Make("Where", most, places, emit.Made([1], _ => -1)), [axis], keep);
        return OnnxReadCall.Typed(last ? found : emit.Affine(found, -1, n - 1), Formats.Onnx.OnnxType.Int64);
    }

    /// <summary>A product of all entries, one after another.</summary>
    public static OnnxOperand Product(OnnxReadCall call)
    {
        const int Most = 64;
        OnnxEmitter emit = call.Emit;
        OnnxOperand x = call[0];
        int[] axes = OnnxFoldReduce.Axes(call.Node, x.Rank, call.Fixed(1));
        foreach (int axis in axes)
        {
            int n = x.Dims[axis];
            if (n > Most || n != x.DimsOfThree[axis])
                throw new InvalidDataException($"it multiplies {n} numbers; up to {Most} are read");
            OnnxOperand[] parts = [.. Enumerable.Range(0, n).Select(i => emit.Slice(x, axis, i, 1))];
            x = parts.Aggregate((a, b) => call.Make("Mul", a, b));
        }
        if (call.Node.Int("keepdims", 1) != 0) return x;
        return emit.Reshape(x, [.. x.Dims.Where((_, i) => !axes.Contains(i))],
            [.. x.DimsOfThree.Where((_, i) => !axes.Contains(i))]);
    }
}
