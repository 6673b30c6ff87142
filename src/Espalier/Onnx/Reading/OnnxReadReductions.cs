using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Sums, means, maxima and where they are, along axes.</summary>
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
        int axis = OnnxArray.Axis(call.Node.Int("axis", 0), x.Rank);
        bool last = call.Node.Int("select_last_index", 0) != 0, keep = call.Node.Int("keepdims", 1) != 0;
        return Place(call, x, call.Emit.Reduce("Max", x, [axis], keep: true), axis, last, keep);
    }

    /// <summary>The largest or smallest entries along an axis and their places, found one after another.</summary>
    public static IReadOnlyList<OnnxOperand> Top(OnnxReadCall call)
    {
        const int Most = 64;
        OnnxEmitter emit = call.Emit;
        bool largest = call.Node.Int("largest", 1) != 0;
        OnnxOperand x = largest ? call[0] : call.Make("Neg", call[0]);
        int axis = OnnxArray.Axis(call.Node.Int("axis", -1), x.Rank), n = x.Dims[axis];
        long k = call.Has(1) ? call.Given(1).Longs()[0] : call.Node.Int("k", 0);
        if (k < 1 || k > Math.Min(n, Most)) throw new InvalidDataException($"it takes {k} of {n} entries; up to {Most} are read");
        OnnxOperand own = emit.Made([n, .. Enumerable.Repeat(1, x.Rank - 1 - axis)], i => i);
        OnnxOperand gone = emit.Made([1], _ => float.NegativeInfinity);
        List<OnnxOperand> values = [], places = [];
        for (int i = 0; i < k; i++)
        {
            values.Add(emit.Reduce("Max", x, [axis], keep: true));
            places.Add(Place(call, x, values[^1], axis, last: false, keep: true));
            if (i + 1 < k) x = call.Make("Where", emit.Pair(PairFunction.Equal, places[^1], own), gone, x);
        }
        OnnxOperand most = Joined(values);
        return [largest ? most : call.Make("Neg", most), OnnxReadCall.Typed(Joined(places), Formats.Onnx.OnnxType.Int64)];

        OnnxOperand Joined(List<OnnxOperand> parts) =>
            parts.Count == 1 ? parts[0] : emit.Node("Concat", new OpSettings().Set("axis", axis), parts);
    }

    /// <summary>Where the largest entry along an axis is.</summary>
    private static OnnxOperand Place(OnnxReadCall call, OnnxOperand x, OnnxOperand largest, int axis, bool last, bool keep)
    {
        OnnxEmitter emit = call.Emit;
        int n = x.Dims[axis];
        if (n != x.DimsOfThree[axis]) throw new InvalidDataException("it compares images");
        OnnxOperand most = emit.Pair(PairFunction.Equal, x, largest);
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
