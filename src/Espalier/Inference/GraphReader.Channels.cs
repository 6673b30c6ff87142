using Espalier.Tensors;

namespace Espalier.Inference;

/// <content>Ops that only move channels about.</content>
internal sealed partial class GraphReader
{
    /// <summary>Splits or joins the channel axis, drops or adds axes of one pixel, or flattens.</summary>
    private Reading? Reshape()
    {
        if (Read(0) is not { } x) return null;
        Shape to = node.Output.Shape;
        Map map = x.Map;
        if (to.Rank == 0 || x.Shape.Rank == 0) return null;
        // Axis 0 stays what it is: the rest may be cut otherwise.
        bool sameFirst = to[0] == x.Shape[0] && (x.Form == Form.Rows) == (node.Output.Tensor.Rows is not null);
        if (!sameFirst) return null;
        if (x.Form == Form.Rows) return x with { Shape = to };
        if (to[0] != images) return null;
        int[] inner = to.ToArray()[1..];
        bool samePixels = inner.Length >= 3 && (inner[^2], inner[^1]) == (map.Height, map.Width);
        if (x.Order is null && x.Spatial && samePixels) return x with { Shape = to };
        if (map.Pixels == 1)
        {
            bool planes = inner.Length >= 3 && inner is [.., 1, 1];
            return planes && x.Order is not null ? null : x with { Shape = to, Form = planes ? Form.Planes : Form.Values };
        }
        if (inner.Length != 1 || !x.IsPlain) return null;
        int[] order = new int[map.Channels * map.Pixels];
        for (int i = 0; i < order.Length; i++) order[i] = i % map.Channels * map.Pixels + i / map.Channels;
        return new Reading(Append(new FlattenLayer(new Map(order.Length, 1, 1), map)), to, images, Form.Values, order);
    }

    /// <summary>Only the axes that number channels may change places.</summary>
    private Reading? Permute(PermuteOp permute)
    {
        int[] axes = [.. permute.Axes];
        if (Read(0) is not { Order: null } x || axes[0] != 0 || (x.Form != Form.Rows && x.Shape[0] != images)) return null;
        if (x.Spatial && (axes[^2] != axes.Length - 2 || axes[^1] != axes.Length - 1)) return null;
        int[] old = x.Axes;
        int count = old.Length;
        int[] extents = new int[count], strides = new int[count];
        for (int i = 0; i < count; i++)
        {
            extents[i] = old[axes[i + 1] - 1];
            strides[i] = Product(old.AsSpan()[axes[i + 1]..]);
        }
        int[] from = new int[x.Map.Channels];
        for (int k = 0; k < from.Length; k++)
        {
            int rest = k;
            for (int i = count - 1; i >= 0; i--)
            {
                (rest, int at) = Math.DivRem(rest, extents[i]);
                from[k] += at * strides[i];
            }
        }
        return Picked(x, from);
    }

    private Reading? Concat()
    {
        var from = new List<(int, int)>();
        Reading[] parts = [.. node.Operands.Select((_, i) => Plain(i)).OfType<Reading>()];
        if (parts.Length < node.Operands.Count) return null;
        if (parts.Any(p => p.Spatial != parts[0].Spatial || !p.Map.SamePixels(parts[0].Map))) return null;
        for (int i = 0; i < parts.Length; i++)
            for (int c = 0; c < parts[i].Map.Channels; c++) from.Add((i, c));
        return Arranged(parts[0], [.. parts.Select(p => p.Map)], [.. from]);
    }

    private Reading? Slice(SliceOp slice) =>
        Plain(0) is { } x ? Picked(x, [.. Enumerable.Range(slice.Start, node.Output.Shape[1])]) : null;

    /// <summary>Channels of zeros around the others; not pixels.</summary>
    private Reading? Pad(PadOp pad)
    {
        Shape from = node.Operands[0]!.Shape, to = node.Output.Shape;
        if (Plain(0) is not { } x || to.With(1, from[1]) != from || (pad.Value != 0 && to[1] != from[1])) return null;
        int before = pad.Before[1];
        return Arranged(x, [x.Map], [.. Enumerable.Range(0, to[1]).Select(
            k => k >= before && k < before + from[1] ? (0, k - before) : ArrangeLayer.Nothing)]);
    }

    private Reading? Select() => Plain(0) is { } x && Constant(1) is { } index
        ? Picked(x, Array.ConvertAll(index.ToArray(), v => (int)v)) : null;

    /// <summary>x + shift, and some of its channels with those of a narrow branch.</summary>
    private Reading? SpreadAdd()
    {
        if (Plain(0) is not { } x || Plain(3) is not { } branch) return null;
        if (Constant(1) is not { } shift || Constant(2) is not { } index) return null;
        var from = new (int, int)[x.Map.Channels];
        Array.Fill(from, ArrangeLayer.Nothing);
        float[] places = index.ToArray();
        for (int k = 0; k < branch.Map.Channels; k++) from[(int)places[k]] = (0, k);
        Map wide = Append(new ArrangeLayer(x.Map.Like(x.Map.Channels), [branch.Map], from, shift.ToArray()));
        return Like(x, new SumLayer(x.Map.Like(x.Map.Channels), x.Map, wide));
    }

    private Reading Picked(Reading x, int[] from) =>
        Like(x, new ArrangeLayer(x.Map.Like(from.Length), [x.Map], Array.ConvertAll(from, c => (0, c))));

    private Reading Arranged(Reading like, Map[] parts, (int, int)[] from) =>
        Like(like, new ArrangeLayer(like.Map.Like(from.Length), parts, from));

    private static int Product(ReadOnlySpan<int> extents)
    {
        int product = 1;
        foreach (int extent in extents) product *= extent;
        return product;
    }
}
