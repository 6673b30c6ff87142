using Espalier.Tensors;

namespace Espalier.Inference;

/// <content>Ops on token rows.</content>
internal sealed partial class GraphReader
{
    /// <summary>Patches that only linear layers read are not made: those layers are convolutions of the maps.</summary>
    private Reading? Patches()
    {
        if (Plain(0) is not { Spatial: true } x) return null;
        bool onlyLinear = !graph.Outputs.Contains(node.Output) && graph.Nodes.All(n => !n.Operands.Contains(node.Output)
            || (n.Op is LinearOp && n.Operands[0] == node.Output && n.Operands.Skip(1).All(o => o != node.Output)
                && constants.Has(n.Operands[1]!) && n.Operands.Skip(2).All(o => o is null || constants.Has(o)) && n.Operands.ElementAtOrDefault(3) is null));
        if (!onlyLinear) return null;
        patches.Add(node.Output);
        return x;
    }

    private static int PatchOf(GraphNode patches) => patches.Op.Settings.Int("patch");

    private Reading? Assemble()
    {
        if (Plain(0) is not { Map.Axis.IsUniform: true } x || Constant(1) is not { } positions) return null;
        float[] table = positions.ToArray();
        int width = x.Map.Channels, tokens = table.Length / Math.Max(1, width), prefix = tokens - x.Map.Pixels;
        if (prefix != node.Inputs.Count() - 2) return null;
        for (int i = 0; i < prefix; i++)
        {
            if (Constant(2 + i) is not { } token) return null;
            Span<float> row = table.AsSpan(i * width, width);
            System.Numerics.Tensors.TensorPrimitives.Add(row, token.ToArray(), row);
        }
        return Told(node.Output, Append(new AssembleLayer(Map.OfRows(NewAxis(tokens), width), x.Map, table)));
    }

    private Reading? Keep(KeepRowsOp keep)
    {
        if (Plain(0) is not { Map.Axis: { } axis } x || Read(1) is not { Map.Channels: 1 } scores || !axis.Fits(scores.Map.Axis)) return null;
        Map y = Map.OfRows(NewAxis(axis.Most, axis), x.Map.Channels);
        return Like(x, new KeepLayer(y, x.Map, scores.Map, keep.Rule, keep.Prefix));
    }

    private Reading? Take(TakeRowsOp take) => Plain(0) is { Map.Axis: not null } x
        ? Like(x, new TakeLayer(Map.OfRows(NewAxis(take.Count), x.Map.Channels), x.Map, take.Start)) : null;

    private Reading? RowDot()
    {
        if (Plain(0) is not { Map.Axis: not null } x || Plain(1) is not { Map.Pixels: 1 } vector) return null;
        Map y = x.Map.Like(1);
        if (node.Operands.Count < 3 || node.Operands[2] is null) return Like(x, new RowDotLayer(y, x.Map, vector.Map));
        return Read(2) is { Map: { Pixels: 1, Channels: 1 } } bias ? Like(x, new RowDotLayer(y, x.Map, vector.Map, bias.Map)) : null;
    }

    private Reading? Attention()
    {
        if (Plain(0) is not { Map.Axis: not null } q || Plain(1) is not { Map.Axis: not null } k || Plain(2) is not { } v
            || node.Operands.Count != 3 || !AttentionStep.Suits(node.Op, q.Map, k.Map, v.Map))
        {
            return null;
        }
        return Like(q, new AttentionLayer(q.Map.Like(v.Map.Channels), q.Map, k.Map, v.Map, node.Op));
    }
}
