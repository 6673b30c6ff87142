using Espalier.Formats.Onnx;

namespace Espalier.Onnx;

/// <summary>Operators on constants that make, pick or put together numbers.</summary>
internal static class OnnxFoldMoves
{
    public static OnnxArray Concat(OnnxFoldCall call)
    {
        int axis = OnnxArray.Axis(call.Node.Int("axis", 1), call[0].Dims.Length);
        int[] dims = [.. call[0].Dims];
        OnnxArray[] parts = [.. Enumerable.Range(0, call.Count).Select(i => call[i])];
        if (parts.Any(p => p.Dims.Length != dims.Length || p.Dims.Where((n, i) => i != axis && n != dims[i]).Any()))
            throw new InvalidDataException("its operands differ in more than one axis");
        dims[axis] = parts.Sum(p => p.Dims[axis]);
        var values = new double[OnnxArray.Count(dims)];
        int outer = dims[..axis].Aggregate(1, (a, n) => a * n), width = outer == 0 ? 0 : values.Length / outer;
        for (int o = 0; o < outer; o++)
        {
            int at = o * width;
            foreach (OnnxArray part in parts)
            {
                int length = part.Values.Length / outer;
                part.Values.AsSpan(o * length, length).CopyTo(values.AsSpan(at));
                at += length;
            }
        }
        return new OnnxArray(parts[0].Type, dims, values);
    }

    public static OnnxArray Filled(OnnxFoldCall call)
    {
        OnnxSourceTensor? value = call.Node.Tensor("value");
        int[] dims = call[0].Ints();
        var values = new double[OnnxArray.Count(dims)];
        if (value is { Count: > 0 }) Array.Fill(values, value.At(0, value.Raw));
        return new OnnxArray(value?.Type ?? OnnxType.Float, dims, values);
    }

    public static OnnxArray Eye(OnnxFoldCall call)
    {
        OnnxArray like = call[0];
        if (like.Dims.Length != 2) throw new InvalidDataException("its operand is no matrix");
        long k = call.Node.Int("k", 0);
        double[] values =
            [.. Enumerable.Range(0, like.Values.Length).Select(i => i % like.Dims[1] == i / like.Dims[1] + k ? 1.0 : 0)];
        return new OnnxArray((OnnxType)call.Node.Int("dtype", (long)like.Type), like.Dims, values);
    }

    public static OnnxArray Gather(OnnxFoldCall call)
    {
        OnnxArray x = call[0];
        int axis = OnnxArray.Axis(call.Node.Int("axis", 0), x.Dims.Length);
        int[][] lists = OnnxMoves.Whole(x.Dims);
        lists[axis] = OnnxMoves.Indices(call[1], x.Dims[axis]);
        return x.Take(lists).Shaped([.. x.Dims[..axis], .. call[1].Dims, .. x.Dims[(axis + 1)..]]);
    }

    public static OnnxArray GatherElements(OnnxFoldCall call) =>
        Picked(call[0], OnnxMoves.GatherElements(call.Node, call[0].Dims, call[1]), call[1].Dims);

    public static OnnxArray GatherNd(OnnxFoldCall call)
    {
        int[] places = OnnxMoves.GatherNd(call.Node, call[0].Dims, call[1], out int[] dims);
        return Picked(call[0], places, dims);
    }

    private static OnnxArray Picked(OnnxArray x, int[] places, int[] dims) =>
        new(x.Type, dims, Array.ConvertAll(places, p => x.Values[p]));

    public static OnnxArray NonZero(OnnxFoldCall call)
    {
        OnnxArray x = call[0];
        int[] places = [.. Enumerable.Range(0, x.Values.Length).Where(i => x.Values[i] != 0)],
            strides = OnnxArray.Strides(x.Dims);
        var values = new double[OnnxArray.Count([x.Dims.Length, places.Length])];
        for (int axis = 0; axis < x.Dims.Length; axis++)
            for (int i = 0; i < places.Length; i++) values[axis * places.Length + i] = places[i] / strides[axis] % x.Dims[axis];
        return new OnnxArray(OnnxType.Int64, [x.Dims.Length, places.Length], values);
    }

    public static OnnxArray OneHot(OnnxFoldCall call)
    {
        OnnxArray indices = call[0], values = call[2];
        int depth = call[1].Ints() is [var d, ..] && d >= 0 ? d : throw new InvalidDataException("it has no depth");
        int rank = indices.Dims.Length, axis = OnnxArray.Axis(call.Node.Int("axis", -1), rank + 1);
        int[] dims = [.. indices.Dims[..axis], depth, .. indices.Dims[axis..]];
        var y = new double[OnnxArray.Count(dims)];
        Array.Fill(y, values.Values[0]);
        int below = indices.Dims[axis..].Aggregate(1, (a, n) => a * n);
        long[] list = indices.Longs();
        for (int i = 0; i < list.Length; i++)
        {
            long at = list[i] < 0 ? list[i] + depth : list[i];
            if (at >= 0 && at < depth) y[i / below * depth * below + (int)at * below + i % below] = values.Values[1];
        }
        return new OnnxArray(values.Type, dims, y);
    }

    public static OnnxArray Range(OnnxFoldCall call)
    {
        double start = call[0].Values[0], limit = call[1].Values[0], delta = call[2].Values[0];
        double count = Math.Max(0, Math.Ceiling((limit - start) / delta));
        if (!(count <= OnnxArray.Most)) throw new InvalidDataException("it counts too far");
        return new OnnxArray(call[0].Type, [(int)count], [.. Enumerable.Range(0, (int)count).Select(i => start + i * delta)]);
    }

    public static OnnxArray ScatterNd(OnnxFoldCall call)
    {
        OnnxArray x = call[0], updates = call[2];
        int[] places = OnnxMoves.GatherNd(new OnnxNodeView(call.Node.Source with { Attributes = NoAttributes }, call.Node.Opset),
            x.Dims, call[1], out int[] dims);
        if (places.Length != updates.Values.Length) throw new InvalidDataException("its updates do not fit its indices");
        double[] values = [.. x.Values];
        string reduction = call.Node.Text("reduction", "none");
        for (int i = 0; i < places.Length; i++)
        {
            double old = values[places[i]], update = updates.Values[i];
            values[places[i]] = reduction switch
            {
                "none" => update, "add" => old + update, "mul" => old * update, "max" => Math.Max(old, update),
                "min" => Math.Min(old, update),
                _ => throw new InvalidDataException($"its reduction is {Formats.ReadGuard.Quote(reduction)}"),
            };
        }
        return x with { Values = values };
    }

    public static OnnxArray Trilu(OnnxFoldCall call)
    {
        OnnxArray x = call[0];
        if (x.Dims.Length < 2) throw new InvalidDataException("its operand has fewer than two axes");
        return x with { Values = [.. x.Values.Select((v, i) => InTriangle(call.Node, x.Dims, call.Optional(1), i) ? v : 0)] };
    }

    /// <summary>Whether an entry of x stays.</summary>
    public static bool InTriangle(OnnxNodeView node, int[] dims, OnnxArray? diagonal, int place)
    {
        long k = diagonal?.Longs() is [var d, ..] ? d : 0;
        int column = place % dims[^1], row = place / dims[^1] % dims[^2];
        return node.Int("upper", 1) != 0 ? column - row >= k : column - row <= k;
    }

    public static OnnxArray Where(OnnxFoldCall call)
    {
        int[] dims = OnnxArray.Joint(call[0].Dims, call[1].Dims, call[2].Dims);
        double[] condition = call[0].Expanded(dims).Values, a = call[1].Expanded(dims).Values, b = call[2].Expanded(dims).Values;
        return new OnnxArray(call[1].Type, dims, [.. condition.Select((c, i) => c != 0 ? a[i] : b[i])]);
    }

    private static readonly Dictionary<string, OnnxSourceAttribute> NoAttributes = [];
}
