using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Operators that pick entries of what a network computes: slices, borders, lists of places.</summary>
internal static class OnnxReadMoves
{
    public static OnnxOperand Slice(OnnxReadCall call) => Take(call, call[0],
        OnnxMoves.Slice(call.Node, call[0].Dims, call.Two(1), call.Two(2), call.Two(3), call.Two(4)),
        OnnxMoves.Slice(call.Node, call[0].DimsOfThree, call.Three(1), call.Three(2), call.Three(3), call.Three(4)));

    public static OnnxOperand Pad(OnnxReadCall call) => Take(call, call[0],
        OnnxMoves.Pad(call.Node, call[0].Dims, call.Two(1), call.Two(3)),
        OnnxMoves.Pad(call.Node, call[0].DimsOfThree, call.Three(1), call.Three(3)), (float)call.Number(2, "value", 0));

    public static OnnxOperand Gather(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        int axis = OnnxArray.Axis(call.Node.Int("axis", 0), x.Rank);
        OnnxArray list = call.Given(1);
        (int[][] two, int[][] three) = (OnnxMoves.Whole(x.Dims), OnnxMoves.Whole(x.DimsOfThree));
        two[axis] = OnnxMoves.Indices(list, x.Dims[axis]);
        three[axis] = OnnxMoves.Indices(list, x.DimsOfThree[axis]);
        OnnxOperand y = Take(call, x, two, three);
        return call.Emit.Reshape(y, [.. x.Dims[..axis], .. list.Dims, .. x.Dims[(axis + 1)..]],
            [.. x.DimsOfThree[..axis], .. list.Dims, .. x.DimsOfThree[(axis + 1)..]]);
    }

    public static OnnxOperand GatherElements(OnnxReadCall call) =>
        Picked(call, call[0], OnnxMoves.GatherElements(call.Node, call[0].Dims, call.Given(1)), call.Given(1).Dims);

    public static OnnxOperand GatherNd(OnnxReadCall call)
    {
        int[] places = OnnxMoves.GatherNd(call.Node, call[0].Dims, call.Given(1), out int[] dims);
        return Picked(call, call[0], places, dims);
    }

    /// <summary>Lengths are an attribute before opset 13, an operand since; none are equal parts, the last one perhaps
    /// smaller.</summary>
    public static IReadOnlyList<OnnxOperand> Split(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        int axis = OnnxArray.Axis(call.Node.Int("axis", 0), x.Rank), length = x.Dims[axis],
            parts = call.Node.Source.Outputs.Count;
        int each = (length + parts - 1) / parts;
        int[] lengths = call.Fixed(1)?.Ints() ?? call.Node.Ints("split")
            ?? [.. Enumerable.Range(0, parts).Select(i => Math.Max(0, Math.Min(each, length - i * each)))];
        if (lengths.Length != parts || lengths.Any(n => n < 0) || lengths.Sum(n => (long)n) != length)
            throw new InvalidDataException($"it splits {length} entries into {parts} outputs by {lengths.Length} lengths, whose sum is "
                + $"{lengths.Sum(n => (long)n)}");
        int start = 0;
        return [.. lengths.Select(n =>
        {
            (int[][] two, int[][] three) = (OnnxMoves.Whole(x.Dims), OnnxMoves.Whole(x.DimsOfThree));
            two[axis] = three[axis] = [.. Enumerable.Range(start, n)];
            start += n;
            return Take(call, x, two, three);
        })];
    }

    /// <summary>Entries of x by a list for each axis, for two images and for three; see <see cref="OnnxMoves"/>.</summary>
    public static OnnxOperand Take(OnnxReadCall call, OnnxOperand x, int[][] two, int[][] three, float fill = 0)
    {
        List<int> axes = [];
        for (int axis = 0; axis < two.Length; axis++)
        {
            if (IsWhole(two[axis], x.Dims[axis]) && IsWhole(three[axis], x.DimsOfThree[axis])) continue;
            if (!two[axis].AsSpan().SequenceEqual(three[axis]) || x.Dims[axis] != x.DimsOfThree[axis])
                throw new InvalidDataException($"it picks from axis {axis}, which are the images");
            axes.Add(axis);
        }
        if (axes.Count > 0 && axes.All(a => Padding(two[a], x.Dims[a]) is not null))
        {
            int[] before = new int[x.Rank], after = new int[x.Rank];
            foreach (int axis in axes) (before[axis], after[axis]) = Padding(two[axis], x.Dims[axis])!.Value;
            return call.Emit.Node("Pad", new OpSettings().Set("before", before).Set("after", after).Set("value", fill), x);
        }
        foreach (int axis in axes.ToArray())
        {
            int[] list = two[axis];
            if (list.Length == 0) throw new InvalidDataException("it leaves nothing of an axis");
            bool run = list[0] >= 0 && !list.Where((at, i) => at != list[0] + i).Any();
            if (run) x = call.Emit.Slice(x, axis, list[0], list.Length);
            else if (axis == 1 && x.Rank > 1 && !list.Contains(-1) && list.Distinct().Count() == list.Length)
                x = call.Make("IndexSelect", x, call.Emit.List(list));
            else continue;
            axes.Remove(axis);
        }
        if (axes.Count == 0) return x;
        int[][] lists = OnnxMoves.Whole(x.Dims);
        foreach (int axis in axes) lists[axis] = two[axis];
        return Pick(call, x, lists, fill);
    }

    /// <summary>Entries by their places in all of x, as the gathers of elements give them.</summary>
    public static OnnxOperand Picked(OnnxReadCall call, OnnxOperand x, int[] places, int[] dims)
    {
        if (!x.Dims.AsSpan().SequenceEqual(x.DimsOfThree))
        {
            // One image's list must be every image's.
            int each = places.Length / x.Dims[0], width = x.Dims.Aggregate(1, (a, n) => a * n) / x.Dims[0];
            bool alike = dims[0] == x.Dims[0] && !places.Where((p, i) => p != places[i % each] + i / each * width).Any();
            if (!alike) throw new InvalidDataException("its indices are of certain images");
            return call.Emit.Pick(x, places[..each], dims[1..]);
        }
        return OfAll(call, x, places, dims);
    }

    /// <summary>x with entries replaced: picked from x and the updates behind it, the last of several that meet.</summary>
    public static OnnxOperand Scatter(OnnxReadCall call)
    {
        OnnxOperand x = call[0], updates = call[2];
        if (call.Node.Text("reduction", "none") != "none")
            throw new InvalidDataException("it adds up or multiplies; only replacing is read");
        if (!x.Dims.AsSpan().SequenceEqual(x.DimsOfThree))
            throw new InvalidDataException("it replaces entries of certain images");
        int[] places = OnnxMoves.GatherNd(call.Node, x.Dims, call.Given(1), out int[] dims);
        int count = OnnxArray.Count(x.Dims);
        int[] order = [.. Enumerable.Range(0, count)];
        for (int i = 0; i < places.Length; i++) order[places[i]] = count + i;
        OnnxOperand all = call.Emit.Node("Concat", new OpSettings().Set("axis", 1), Row(x), Row(updates));
        return call.Emit.Reshape(call.Emit.Pick(all, order, [count]), x.Dims, x.Dims);

        OnnxOperand Row(OnnxOperand v) => call.Emit.Shaped(v, 1, OnnxArray.Count(v.Dims));
    }

    /// <summary>A sum of all entries before one is a product with a triangle of ones.</summary>
    public static OnnxOperand CumSum(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        int axis = OnnxArray.Axis(call.Given(1).Longs()[0], x.Rank), n = x.Dims[axis];
        bool exclusive = call.Node.Int("exclusive", 0) != 0, reverse = call.Node.Int("reverse", 0) != 0;
        OnnxOperand ones = call.Emit.Made([n, n], i =>
        {
            (int to, int from) = (i / n, i % n);
            return (reverse ? from > to : from < to) || (from == to && !exclusive) ? 1 : 0;
        });
        return OnnxReadResize.Along(call, x, axis, ones);
    }

    public static OnnxOperand Trilu(OnnxReadCall call)
    {
        OnnxOperand x = call[0];
        if (x.Rank < 2) throw new InvalidDataException("its operand has fewer than two axes");
        int[] dims = [x.Dims[^2], x.Dims[^1]];
        OnnxArray? diagonal = call.Fixed(1);
        OnnxOperand stays = call.Emit.Made(dims, i => OnnxFoldMoves.InTriangle(call.Node, dims, diagonal, i) ? 1 : 0);
        return OnnxReadCall.Typed(call.Make("Where", stays, x, call.Emit.Made([1], _ => 0)), x.Type);
    }

    private static OnnxOperand Pick(OnnxReadCall call, OnnxOperand x, int[][] lists, float fill)
    {
        bool images = x.Rank > 1 && IsWhole(lists[0], x.Dims[0]);
        if (images && x.Dims.AsSpan(1).SequenceEqual(x.DimsOfThree.AsSpan(1)))
            return call.Emit.Pick(x, OnnxArray.Places(x.Dims[1..], lists[1..]), lists[1..].Select(l => l.Length), fill);
        if (!x.Dims.AsSpan().SequenceEqual(x.DimsOfThree)) throw new InvalidDataException("axis 0 is not the images");
        return OfAll(call, x, OnnxArray.Places(x.Dims, lists), [.. lists.Select(l => l.Length)], fill);
    }

    /// <summary>Entries by their places in all of x, whose shape is the same for any number of images.</summary>
    private static OnnxOperand OfAll(OnnxReadCall call, OnnxOperand x, int[] places, int[] dims, float fill = 0)
    {
        OnnxOperand flat = call.Emit.Reshape(x, [1, OnnxArray.Count(x.Dims)], [1, OnnxArray.Count(x.Dims)]);
        return call.Emit.Reshape(call.Emit.Pick(flat, places, [places.Length], fill), dims, dims);
    }

    /// <summary>Entries before and after, where a list is a whole axis with a constant around it; null where it is not.</summary>
    private static (int Before, int After)? Padding(int[] list, int length)
    {
        int before = 0;
        while (before < list.Length && list[before] < 0) before++;
        int after = list.Length - before - length;
        if (after < 0) return null;
        for (int i = 0; i < list.Length; i++)
            if (list[i] != (i < before || i >= before + length ? -1 : i - before)) return null;
        return (before, after);
    }

    private static bool IsWhole(int[] list, int length) => list.Length == length && !list.Where((at, i) => at != i).Any();
}
