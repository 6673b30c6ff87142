namespace Espalier.Onnx;

/// <summary>
/// What operators that move numbers without computing mean, of constants and of what a network computes alike: the new shape, or
/// for each axis the list of entries of x that make the new axis, -1 standing for a constant.
/// </summary>
internal static class OnnxMoves
{
    /// <summary>Entries of all axes together that are listed.</summary>
    private const int MostListed = 1 << 23;

    /// <summary>Reshape's target, in which 0 stands for x's own axis and -1 for what remains.</summary>
    public static int[] Reshaped(int[] x, long[] target, bool allowZero)
    {
        OnnxArray.RequireAxes(target.Length);
        long[] dims = [.. target.Select((n, i) => n != 0 || allowZero ? n : i < x.Length ? x[i]
            : throw new InvalidDataException("its target has a 0 where x has no axis"))];
        int free = Array.IndexOf(dims, -1);
        long known = 1, all = x.Aggregate(1L, (a, n) => a * n);
        for (int i = 0; i < dims.Length; i++)
        {
            if (i == free) continue;
            if (dims[i] is < 0 or > int.MaxValue || (dims[i] > 0 && known > int.MaxValue / dims[i]))
                throw new InvalidDataException($"its target is [{string.Join(",", target)}]");
            known *= dims[i];
        }
        if (free >= 0) dims[free] = known > 0 && all % known == 0 ? all / known
            : throw new InvalidDataException($"[{string.Join(",", x)}] does not divide into [{string.Join(",", target)}]");
        else if (known != all)
            throw new InvalidDataException($"[{string.Join(",", x)}] does not fit [{string.Join(",", target)}]");
        return [.. dims.Select(n => (int)n)];
    }

    /// <summary>Axes before one, and the others, as two.</summary>
    public static int[] Flattened(OnnxNodeView node, int[] x)
    {
        long at = node.Int("axis", 1);
        if (at < -x.Length || at > x.Length) throw new InvalidDataException($"axis {at} of a value with {x.Length} axes");
        int axis = (int)(at < 0 ? at + x.Length : at);
        return [x[..axis].Aggregate(1, (a, n) => a * n), x[axis..].Aggregate(1, (a, n) => a * n)];
    }

    /// <param name="list">The axes where they are an operand.</param>
    public static int[] Squeezed(OnnxNodeView node, int[] x, OnnxArray? list)
    {
        long[]? axes = list?.Longs() ?? node.Longs("axes");
        OnnxArray.RequireAxes(axes?.Length ?? 0);
        int[]? gone = axes is null ? null : [.. axes.Select(a => OnnxArray.Axis(a, x.Length))];
        if (gone is not null && gone.Any(a => x[a] != 1))
            throw new InvalidDataException("an axis that it leaves out is longer than 1");
        return [.. x.Where((n, i) => gone is null ? n != 1 : !gone.Contains(i))];
    }

    /// <inheritdoc cref="Squeezed"/>
    public static int[] Unsqueezed(OnnxNodeView node, int[] x, OnnxArray? list)
    {
        long[] axes = list?.Longs() ?? node.Longs("axes") ?? throw new InvalidDataException("it names no axes");
        int rank = x.Length + axes.Length;
        OnnxArray.RequireAxes(rank);
        HashSet<int> added = [.. axes.Select(a => OnnxArray.Axis(a, rank))];
        if (added.Count != axes.Length) throw new InvalidDataException("it names an axis twice");
        int next = 0;
        return [.. Enumerable.Range(0, rank).Select(i => added.Contains(i) ? 1 : x[next++])];
    }

    public static int[] Order(OnnxNodeView node, int rank)
    {
        int[] order = node.Ints("perm") ?? [.. Enumerable.Range(0, rank).Reverse()];
        OnnxArray.RequireAxes(order.Length);
        return order.Length == rank && order.Order().SequenceEqual(Enumerable.Range(0, rank)) ? order
            : throw new InvalidDataException($"[{string.Join(",", order)}] is no order of {rank} axes");
    }

    /// <summary>Attributes before opset 10, operands since.</summary>
    public static int[][] Slice(OnnxNodeView node, int[] x, OnnxArray? starts, OnnxArray? ends, OnnxArray? axes, OnnxArray? steps)
    {
        long[] from = starts?.Longs() ?? node.Longs("starts") ?? throw new InvalidDataException("it has no starts");
        long[] to = ends?.Longs() ?? node.Longs("ends") ?? throw new InvalidDataException("it has no ends");
        OnnxArray.RequireAxes(from.Length);
        long[] along = axes?.Longs() ?? node.Longs("axes") ?? [.. Enumerable.Range(0, from.Length).Select(i => (long)i)];
        long[] by = steps?.Longs() ?? [.. from.Select(_ => 1L)];
        if (to.Length != from.Length || along.Length != from.Length || by.Length != from.Length || by.Contains(0))
            throw new InvalidDataException("its starts, ends, axes and steps do not fit together");
        int[][] lists = Whole(x);
        for (int i = 0; i < from.Length; i++)
        {
            int axis = OnnxArray.Axis(along[i], x.Length), n = x[axis];
            long step = by[i], low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
            long start = Math.Clamp(from[i] < 0 ? from[i] + n : from[i], low, high);
            long end = Math.Clamp(to[i] < 0 ? to[i] + n : to[i], low, high);
            List<int> list = [];
            for (long at = start; step > 0 ? at < end : at > end; at += step) list.Add((int)at);
            lists[axis] = [.. list];
        }
        return lists;
    }

    /// <param name="pads">[2 axes], an attribute before opset 11.</param>
    /// <param name="axes">Those that pads are for, since opset 18.</param>
    public static int[][] Pad(OnnxNodeView node, int[] x, OnnxArray? pads, OnnxArray? axes)
    {
        int[] widths = pads?.Ints() ?? node.Ints("pads") ?? node.Ints("paddings")
            ?? throw new InvalidDataException("it has no pads");
        int[] along = axes is null ? [.. Enumerable.Range(0, x.Length)]
            : [.. axes.Longs().Select(a => OnnxArray.Axis(a, x.Length))];
        OnnxArray.RequireAxes(along.Length);
        if (widths.Length != 2 * along.Length) throw new InvalidDataException($"{widths.Length} pads for {along.Length} axes");
        string mode = node.Text("mode", "constant");
        int[][] lists = Whole(x);
        for (int i = 0; i < along.Length; i++)
        {
            int n = x[along[i]], before = widths[i], after = widths[i + along.Length];
            long length = (long)n + before + after;
            if (length is < 0 or > OnnxArray.Most) throw new InvalidDataException($"it pads an axis of {n} to {length}");
            lists[along[i]] = [.. Enumerable.Range(-before, (int)length).Select(at => at >= 0 && at < n ? at : mode switch
            {
                "constant" => -1,
                "edge" => Math.Clamp(at, 0, n - 1),
                "wrap" => ((at % n) + n) % n,
                "reflect" when n > 1 => Reflected(at, n),
                _ => throw new InvalidDataException($"its mode is {Formats.ReadGuard.Quote(mode)}"),
            })];
        }
        return lists;
    }

    public static int[][] Tile(int[] x, int[] repeats)
    {
        if (repeats.Length != x.Length || repeats.Any(r => r is < 0 or > OnnxArray.Most))
            throw new InvalidDataException("it does not say how often each axis is repeated");
        return [.. x.Select((n, i) => n * (long)repeats[i] <= OnnxArray.Most
            ? Enumerable.Range(0, n * repeats[i]).Select(at => at % n).ToArray()
            : throw new InvalidDataException("it repeats too often"))];
    }

    /// <summary>Every entry of every axis.</summary>
    public static int[][] Whole(int[] x) => x.Sum(n => (long)n) <= MostListed
        ? [.. x.Select(n => Enumerable.Range(0, n).ToArray())]
        : throw new InvalidDataException($"[{string.Join(",", x)}] is too long for lists of its entries");

    /// <summary>Indices that may be counted from the end.</summary>
    public static int[] Indices(OnnxArray list, int length) => Array.ConvertAll(list.Longs(), i =>
        i >= -length && i < length ? (int)(i < 0 ? i + length : i)
            : throw new InvalidDataException($"its index {i} of {length} entries"));

    /// <summary>For each entry of the result, its place in x.</summary>
    public static int[] GatherElements(OnnxNodeView node, int[] x, OnnxArray indices)
    {
        int axis = OnnxArray.Axis(node.Int("axis", 0), x.Length);
        if (indices.Dims.Length != x.Length || indices.Dims.Where((n, i) => i != axis && n > x[i]).Any())
            throw new InvalidDataException("its indices do not fit x");
        int[] places =
            OnnxArray.Places(x, [.. indices.Dims.Select((n, i) => i == axis ? new int[n] : Enumerable.Range(0, n).ToArray())]);
        int stride = OnnxArray.Strides(x)[axis];
        int[] list = Indices(indices, x[axis]);
        for (int i = 0; i < places.Length; i++) places[i] += list[i] * stride;
        return places;
    }

    /// <inheritdoc cref="GatherElements"/>
    public static int[] GatherNd(OnnxNodeView node, int[] x, OnnxArray indices, out int[] dims)
    {
        int batch = (int)Math.Clamp(node.Int("batch_dims", 0), 0, 8), rank = indices.Dims.Length;
        if (rank == 0 || batch >= rank || batch + indices.Dims[^1] > x.Length
            || !x.Take(batch).SequenceEqual(indices.Dims.Take(batch)))
            throw new InvalidDataException("its indices do not fit x");
        int depth = indices.Dims[^1], slice = x[(batch + depth)..].Aggregate(1, (a, n) => a * n);
        dims = [.. indices.Dims[..^1], .. x[(batch + depth)..]];
        int[] strides = OnnxArray.Strides(x), places = new int[OnnxArray.Count(dims)];
        long[] list = indices.Longs();
        int rows = depth == 0 ? OnnxArray.Count(indices.Dims[..^1]) : list.Length / depth;
        int images = x[..batch].Aggregate(1, (a, n) => a * n), each = batch == 0 ? 0 : x.Aggregate(1, (a, n) => a * n) / images;
        for (int r = 0, at = 0; r < rows; r++)
        {
            int place = batch == 0 ? 0 : r / (rows / images) * each;
            for (int d = 0; d < depth; d++)
            {
                long i = list[r * depth + d], n = x[batch + d];
                if (i < -n || i >= n) throw new InvalidDataException($"its index {i} of {n} entries");
                place += (int)(i < 0 ? i + n : i) * strides[batch + d];
            }
            for (int s = 0; s < slice; s++) places[at++] = place + s;
        }
        return places;
    }

    private static int Reflected(int at, int n)
    {
        int period = 2 * (n - 1), place = ((at % period) + period) % period;
        return place < n ? place : period - place;
    }
}
