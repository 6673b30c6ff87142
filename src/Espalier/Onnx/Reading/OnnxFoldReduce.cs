using Espalier.Formats.Onnx;

namespace Espalier.Onnx;

/// <summary>Sums, products and the like of constants, along axes.</summary>
internal static class OnnxFoldReduce
{
    public static OnnxArray Reduce(OnnxFoldCall call, double start, Func<double, double, double> with)
    {
        OnnxArray x = call[0];
        int[] axes = Axes(call.Node, x.Dims.Length, call.Optional(1));
        int[] kept = [.. x.Dims.Select((n, i) => axes.Contains(i) ? 1 : n)];
        int[] strides = OnnxArray.Strides(kept), own = OnnxArray.Strides(x.Dims);
        var y = new double[OnnxArray.Count(kept)];
        Array.Fill(y, start);
        for (int i = 0; i < x.Values.Length; i++)
        {
            int to = 0;
            for (int a = 0; a < kept.Length; a++) if (kept[a] != 1) to += i / own[a] % x.Dims[a] * strides[a];
            y[to] = with(y[to], x.Values[i]);
        }
        bool keep = call.Node.Int("keepdims", 1) != 0;
        return new OnnxArray(x.Type, keep ? kept : [.. kept.Where((_, i) => !axes.Contains(i))], y);
    }

    /// <summary>The mean of the operands, number by number.</summary>
    public static OnnxArray OfOperands(OnnxFoldCall call)
    {
        OnnxArray sum = call.Sum();
        return sum with { Values = Array.ConvertAll(sum.Values, v => v / call.Count) };
    }

    public static OnnxArray Mean(OnnxFoldCall call)
    {
        OnnxArray sum = Reduce(call, 0, (a, b) => a + b);
        double count = sum.Values.Length == 0 ? 1 : call[0].Values.Length / (double)sum.Values.Length;
        return sum with { Values = Array.ConvertAll(sum.Values, v => sum.IsWhole ? Math.Truncate(v / count) : v / count) };
    }

    /// <summary>The axes of a reduction: an attribute, or since opset 18 (13 for ReduceSum) an operand; all where none is
    /// named.</summary>
    public static int[] Axes(OnnxNodeView node, int rank, OnnxArray? operand)
    {
        long[] axes = operand?.Longs() ?? node.Longs("axes") ?? [];
        OnnxArray.RequireAxes(axes.Length);
        if (axes.Length > 0) return [.. axes.Select(a => OnnxArray.Axis(a, rank)).Distinct().Order()];
        return node.Int("noop_with_empty_axes", 0) != 0 ? [] : [.. Enumerable.Range(0, rank)];
    }

    public static OnnxArray Arg(OnnxFoldCall call, Func<double, double, bool> better)
    {
        OnnxArray x = call[0];
        int axis = OnnxArray.Axis(call.Node.Int("axis", 0), x.Dims.Length), n = x.Dims[axis];
        bool last = call.Node.Int("select_last_index", 0) != 0;
        int[] kept = [.. x.Dims.Select((d, i) => i == axis ? 1 : d)];
        int[] starts =
            OnnxArray.Places(x.Dims, [.. kept.Select((d, i) => i == axis ? new int[1] : Enumerable.Range(0, d).ToArray())]);
        int stride = OnnxArray.Strides(x.Dims)[axis];
        double[] y = Array.ConvertAll(starts, start =>
        {
            int best = 0;
            for (int i = 1; i < n; i++)
            {
                double v = x.Values[start + i * stride], most = x.Values[start + best * stride];
                if (better(v, most) || (last && v == most)) best = i;
            }
            return (double)best;
        });
        bool keep = call.Node.Int("keepdims", 1) != 0;
        return new OnnxArray(OnnxType.Int64, keep ? kept : [.. kept.Where((_, i) => i != axis)], y);
    }

    public static OnnxArray CumSum(OnnxFoldCall call)
    {
        OnnxArray x = call[0];
        int axis = OnnxArray.Axis(call[1].Longs()[0], x.Dims.Length), n = x.Dims[axis], stride = OnnxArray.Strides(x.Dims)[axis];
        bool exclusive = call.Node.Int("exclusive", 0) != 0, reverse = call.Node.Int("reverse", 0) != 0;
        var y = new double[x.Values.Length];
        for (int i = 0; i < y.Length; i++)
        {
            int at = i / stride % n;
            if (at != (reverse ? n - 1 : 0)) continue;
            double sum = 0;
            for (int k = 0, place = i; k < n; k++, place += reverse ? -stride : stride)
            {
                if (exclusive) y[place] = sum;
                sum += x.Values[place];
                if (!exclusive) y[place] = sum;
            }
        }
        return x with { Values = y };
    }
}
