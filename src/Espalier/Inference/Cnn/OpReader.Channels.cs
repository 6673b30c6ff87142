using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>Ops that only move channels about.</summary>
internal sealed partial class OpReader
{
    /// <summary>Splits or joins the channel axis, drops or adds axes of one pixel, or flattens.</summary>
    private Reading Reshape()
    {
        Reading x = Read(0);
        int[] to = op.Output.Shape.ToArray();
        Map map = x.Map;
        if (to.Length < 2 || to[0] != 1) throw Unsupported();
        if (x.Order is null && to.Length >= 4 && (to[^2], to[^1]) == (map.Height, map.Width)
            && Product(to.AsSpan()[1..^2]) == map.Channels)
        {
            return x with { Axes = to[1..^2], Spatial = true };
        }
        if (to.Length != 2 || x.Axes.Length != 1) throw Unsupported();
        if (map.Pixels == 1) return x with { Axes = [to[1]], Spatial = false };
        int[] order = new int[map.Channels * map.Pixels];
        for (int i = 0; i < order.Length; i++) order[i] = i % map.Channels * map.Pixels + i / map.Channels;
        return new Reading(Append(new FlattenLayer(new Map(order.Length, 1, 1), map)), [order.Length], false, order);
    }

    /// <summary>Only the axes that number channels may change places.</summary>
    private Reading Permute(PermuteOp permute)
    {
        Reading x = Read(0);
        int[] axes = [.. permute.Axes];
        int count = x.Axes.Length;
        if (x.Order is not null || axes[0] != 0 || (x.Spatial && (axes[^2] != axes.Length - 2 || axes[^1] != axes.Length - 1)))
            throw Unsupported();
        int[] extents = new int[count], strides = new int[count];
        for (int i = 0; i < count; i++)
        {
            extents[i] = x.Axes[axes[i + 1] - 1];
            strides[i] = Product(x.Axes.AsSpan()[axes[i + 1]..]);
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
        return x with { Map = Picked(x.Map, from), Axes = extents };
    }

    private Reading Concat()
    {
        var from = new List<(int, int)>();
        var parts = new Map[op.Inputs.Count];
        Reading first = Plain(0);
        for (int i = 0; i < parts.Length; i++)
        {
            Reading part = Plain(i);
            if (part.Spatial != first.Spatial) throw Unsupported();
            parts[i] = part.Map;
            for (int c = 0; c < part.Map.Channels; c++) from.Add((i, c));
        }
        return Arranged(first, parts, [.. from]);
    }

    private Reading Slice(SliceOp slice)
    {
        Reading x = Plain(0);
        return x with
        {
            Map = Picked(x.Map, [.. Enumerable.Range(slice.Start, op.Output.Shape[1])]), Axes = [op.Output.Shape[1]],
        };
    }

    /// <summary>Channels of zeros around the others; not pixels.</summary>
    private Reading Pad(PadOp pad)
    {
        Reading x = Plain(0);
        Shape from = op.Inputs[0].Shape, to = op.Output.Shape;
        if (to.With(1, from[1]) != from || (pad.Value != 0 && to[1] != from[1])) throw Unsupported();
        int before = pad.Before[1];
        return Arranged(x, [x.Map], [.. Enumerable.Range(0, to[1]).Select(
            k => k >= before && k < before + from[1] ? (0, k - before) : ArrangeLayer.Nothing)]);
    }

    private Reading Select()
    {
        Reading x = Plain(0);
        Tensor index = op.Inputs[1];
        if (readings.ContainsKey(index)) throw Unsupported();
        int[] from = Array.ConvertAll(index.ToArray(), v => (int)v);
        return x with { Map = Picked(x.Map, from), Axes = [from.Length] };
    }

    /// <summary>x + shift, and some of its channels with those of a narrow branch.</summary>
    private Reading SpreadAdd()
    {
        Reading x = Plain(0), branch = Plain(3);
        Tensor shift = op.Inputs[1], index = op.Inputs[2];
        if (readings.ContainsKey(shift) || readings.ContainsKey(index)) throw Unsupported();
        var from = new (int, int)[x.Map.Channels];
        Array.Fill(from, ArrangeLayer.Nothing);
        for (int k = 0; k < branch.Map.Channels; k++) from[(int)index.Span[k]] = (0, k);
        Map wide = Append(new ArrangeLayer(Like(x.Map), [branch.Map], from, shift.ToArray()));
        return x with { Map = Append(new SumLayer(Like(x.Map), x.Map, wide)) };
    }

    private Map Picked(Map x, int[] from) =>
        Append(new ArrangeLayer(new Map(from.Length, x.Height, x.Width), [x], Array.ConvertAll(from, c => (0, c))));

    private Reading Arranged(Reading like, Map[] parts, (int, int)[] from)
    {
        var y = new Map(from.Length, like.Map.Height, like.Map.Width);
        return like with { Map = Append(new ArrangeLayer(y, parts, from)), Axes = [from.Length] };
    }

    private static int Product(ReadOnlySpan<int> extents)
    {
        int product = 1;
        foreach (int extent in extents) product *= extent;
        return product;
    }
}
