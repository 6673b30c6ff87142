using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <content>Ops on token rows.</content>
internal sealed partial class GraphReader
{
    /// <summary>Patches that only linear layers read are not made: those layers are convolutions of the maps.</summary>
    private Reading? Patches()
    {
        if (Plain(0) is not { Spatial: true } x) return null;
        if (graph.Outputs.Contains(node.Output)) return null;
        if (graph.Nodes.Any(n => n.Operands.Contains(node.Output) && !IsPlainLinear(n))) return null;
        patches.Add(node.Output);
        return x;
    }

    /// <summary>Whether it is a linear layer of constants, without a residual.</summary>
    private bool IsPlainLinear(GraphNode reader) => reader.Op is LinearOp { Residual: null }
        && reader.Operands.Skip(1).All(o => o is null || constants.Has(o));

    /// <summary>A linear layer on patches is a convolution of the maps that they are cut from.</summary>
    private Map OfPatches(GraphValue value, Weight weight, float[]? bias)
    {
        Map maps = readings[value].Map;
        int patch = value.Producer!.Op.Settings.Int("patch");
        var filters = new Filters(weight.As(new Shape(weight.Shape[0], maps.Channels, patch, patch)), bias, groups: 1);
        Map rows = Map.OfRows(NewAxis(maps.Pixels / (patch * patch)), filters.Outputs);
        return Append(new ConvLayer(rows, maps, filters) { Stride = patch });
    }

    private Reading? Assemble()
    {
        if (Plain(0) is not { Map.Axis.IsUniform: true } x || Constant(1) is not { } positions) return null;
        float[] table = positions.ToArray();
        int width = x.Map.Channels, tokens = table.Length / Math.Max(1, width), prefix = tokens - x.Map.Pixels;
        if (prefix != ((AssembleTokensOp)node.Op).Prefix) return null;
        int at = 0;
        for (int i = 2; i < node.Operands.Count; i++)
        {
            if (Constant(i)?.ToArray() is not { } front) return null;
            Span<float> rows = table.AsSpan(at, front.Length);
            System.Numerics.Tensors.TensorPrimitives.Add(rows, front, rows);
            at += front.Length;
        }
        return Told(node.Output, Append(new AssembleLayer(Map.OfRows(NewAxis(tokens), width), x.Map, table)));
    }

    /// <summary>Rows of words: of each text as many as it has.</summary>
    private Reading Embed()
    {
        if (Read(0) is not { } ids || Constant(1) is not { } table || Constant(2) is not { } positions)
            throw Mixed("its table and its positions are no constants");
        int longest = positions.Shape[0];
        Map rows = Map.OfRows(NewAxis(longest, NewAxis(longest)), positions.Shape[1]);
        return Told(node.Output, Append(new EmbedLayer(rows, ids, table, positions)));
    }

    private RuledPlaces? places;

    private Reading? Keep(KeepRowsOp keep)
    {
        if (Plain(0) is not { Map.Axis: { } axis } x || Read(1) is not { Map.Channels: 1 } scores) return null;
        if (!axis.Fits(scores.Map.Axis)) return null;
        Map y = Map.OfRows(NewAxis(axis.Most, axis), x.Map.Channels);
        return Like(x, new KeepLayer(y, x.Map, scores.Map, keep, (places ??= new RuledPlaces(graph)).Contains(node)));
    }

    private Reading? Take(TakeRowsOp take) => Plain(0) is { Map.Axis: not null } x
        ? Like(x, new TakeLayer(Map.OfRows(NewAxis(take.Count), x.Map.Channels), x.Map, take.Start)) : null;

    private Reading? ToMaps(RowsToMapsOp op) => Plain(0) is { Map.Axis.IsUniform: true } x
        ? Told(node.Output, Append(new RowsToMapsLayer(MapOf(op.Result), x.Map))) : null;

    private Reading? ToRows()
    {
        if (Plain(0) is not { Spatial: true } x) return null;
        Reading? first = Plain(1);
        if (node.Inputs.Count() > 1 && first is not { Map.Axis.IsUniform: true }) return null;
        Map rows = Map.OfRows(NewAxis(node.Output.Tensor.Rows!.MaxLength), x.Map.Channels);
        return Told(node.Output, Append(
            first is null ? new MapsToRowsLayer(rows, x.Map) : new MapsToRowsLayer(rows, x.Map, first.Map)));
    }

    private Reading? RowDot()
    {
        if (Plain(0) is not { Map.Axis: not null } x || Plain(1) is not { Map.Pixels: 1 } vector) return null;
        Map y = x.Map.Like(1);
        if (node.Operands.Count < 3 || node.Operands[2] is null) return Like(x, new RowDotLayer(y, x.Map, vector.Map));
        if (Read(2) is not { Map: { Pixels: 1, Channels: 1 } bias }) return null;
        return Like(x, new RowDotLayer(y, x.Map, vector.Map, bias));
    }

    // With a bias of pairs or a mask that is an operand, the op runs as it is. Rows that were taken in between do not know their
    // tokens.
    private Reading? Attention(AttentionOp attention)
    {
        if (Plain(0) is not { Map.Axis: { } queries } q || Plain(1) is not { Map.Axis: { } keys } k || Plain(2) is not { } v)
            return null;
        if (!keys.Fits(v.Map.Axis) || (attention.Mask != AttentionMask.None && queries != keys)) return null;
        Map[] inputs = [q.Map, k.Map, v.Map];
        if (node.Inputs.Count() > 3)
        {
            if (node.Inputs.Count() > 4 || Read(3) is not { Map: { Channels: 1 } bias } || !keys.Fits(bias.Axis)) return null;
            inputs = [.. inputs, bias];
        }
        return Like(q, new AttentionLayer(q.Map.Like(v.Map.Channels), inputs, attention));
    }

    private Reading? ClassAttention(ClassAttentionOp op) =>
        Plain(0) is { Map.Axis: { IsUniform: true, Most: 1 } } q && Plain(1) is { Map.Axis: not null } k
            ? Like(k, new ClassAttentionLayer(k.Map.Like(1), q.Map, k.Map, op)) : null;

    private Reading? Match(MatchRowsOp op) =>
        Plain(0) is { Map.Axis: not null } x ? Like(x, new MatchLayer(x.Map.Like(1), x.Map, op)) : null;

    private Reading? Sample(SampleRowsOp op) => Read(0) is { Map: { Axis: not null, Channels: 1 } } x
        ? Like(x, new SampleLayer(x.Map.Like(1), x.Map, op)) : null;

    /// <summary>What goes by one plan has the same rows afterwards.</summary>
    private Reading? Merge(MergeRowsOp op)
    {
        if (Read(0) is not { Map.Axis: { } axis, Order: null } x || Read(1) is not { Map: { Channels: 1 } plan }) return null;
        Reading? weights = Read(2);
        if (!axis.Fits(plan.Axis) || (node.Inputs.Count() > 2 && (weights is null || !axis.Fits(weights.Map.Axis)))) return null;
        int most = RowMatching.Left(axis.Most, op.Count, op.Prefix);
        if (!merged.TryGetValue((plan, most), out RowAxis? after))
            merged.Add((plan, most), after = NewAxis(most, axis.IsUniform ? null : axis));
        Map[] inputs = weights is null ? [x.Map, plan] : [x.Map, plan, weights.Map];
        return Like(x, new MergeLayer(Map.OfRows(after, x.Map.Channels), inputs, op));
    }
}
