using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Makes token rows of tokens: what a vision transformer computes of [N, T, D] becomes ops on rows [N T, D] with their row set, as in
/// this library's own transformers, so that tokens can be dropped and agents put in. It begins where patches, class token and
/// positions meet.
/// </summary>
internal static class OnnxTokenRows
{
    public static void Convert(OnnxRewriter rewriter)
    {
        var rows = new Dictionary<GraphValue, GraphValue>();
        foreach (GraphNode node in rewriter.Graph.Nodes.ToArray())
        {
            if (Assembled(rewriter, node) is { } begun) Begin(node, begun);
            else if (Maps(rewriter, node) is { } maps) rewriter.Forward(node.Output, maps);
            else if (RowsOfMaps(rewriter, node, rows) is { } grid) Begin(node, grid);
            else if (node.Inputs.Any(rows.ContainsKey)) Convert(rewriter, node, rows);
        }
        rewriter.Sweep();

        void Begin(GraphNode node, GraphValue made)
        {
            rows[node.Output] = made;
            if (rewriter.Graph.Outputs.Contains(node.Output)) Back(rewriter, node, node.Output, rows);
        }
    }

    private static void Convert(OnnxRewriter rewriter, GraphNode node, Dictionary<GraphValue, GraphValue> rows)
    {
        if (OnRows(node, rows) is { } op)
        {
            GraphValue?[] operands = [.. node.Operands.Select(o => o is null ? null : rows.GetValueOrDefault(o, o))];
            rows[node.Output] = rewriter.Insert(node, node.Name, op, operands);
            node.Output.Name += ".old";
            if (rewriter.Graph.Outputs.Contains(node.Output)) Back(rewriter, node, node.Output, rows);
            return;
        }
        if (node.Op is ReshapeOp && node.Operands[0] is { Shape: { Rank: 3 } s } one && s[1] == 1 && node.Output.Shape == new Shape(s[0], s[2]))
        {
            if (rows[one].Name == $"{node.Name}.slice")
            {
                node.Output.Name += ".old";
                rows[one].Name = rows[one].Name[..^".slice".Length];
            }
            rewriter.Forward(node.Output, rows[one]);
            return;
        }
        foreach (GraphValue operand in node.Inputs.Where(rows.ContainsKey).Distinct().ToArray()) Back(rewriter, node, operand, rows);
    }

    /// <summary>The node's op on rows; null where it is not one that works row by row.</summary>
    private static Op? OnRows(GraphNode node, Dictionary<GraphValue, GraphValue> rows)
    {
        Tensor?[] operands = [.. node.Operands.Select(o => o is null ? null : rows.GetValueOrDefault(o, o).Tensor)];
        bool Is(int operand) => rows.ContainsKey(node.Operands[operand]!);
        switch (node.Op)
        {
            case LinearOp { Residual: null } when Is(0):
            case LayerNormOp or UnaryOp or GeluOp or DropoutOp or SoftmaxOp when Is(0):
            case AttentionOp when Is(0) && Is(1) && Is(2) && node.Operands.ElementAtOrDefault(4) is null
                && node.Operands.ElementAtOrDefault(3) is null or { IsWeight: true, Shape.Rank: 3 }:
                return node.Op.On(operands);
            case BinaryOp when node.Operands[0]!.Shape == node.Operands[1]!.Shape && Is(0) && Is(1):
            case BinaryOp when node.Inputs.Any(o => o is { IsWeight: true, Shape.Rank: <= 1 }):
                return node.Op.On(operands);
            case SliceOp { Axis: 1 } slice:
                return new TakeRowsOp(operands[0]!, slice.Start, node.Output.Shape[1]);
            default: return null;
        }
    }

    /// <summary>Lets a node that wants [N, T, ..] read that.</summary>
    private static void Back(OnnxRewriter rewriter, GraphNode node, GraphValue value, Dictionary<GraphValue, GraphValue> rows)
    {
        GraphValue from = rows[value];
        Shape shape = value.Shape;
        var op = new ReshapeOp(from.Tensor, [1, 1], [2, 1], [-1, shape[1], -1]);
        bool output = rewriter.Graph.Outputs.Contains(value);
        if (output) from.Name = rewriter.Free($"{from.Name}.rows");
        GraphValue back = rewriter.Insert(node, output ? value.Name[..^".old".Length] : rewriter.Free($"{from.Name}.tokens"), op, from);
        if (output) rewriter.Forward(value, back);
        else rewriter.Graph.Redirect(value, back, n => n == node);
    }

    /// <summary>Rows of tokens in front (class token, registers) and patches, with positions: the two orders in which exporters add and join.</summary>
    private static GraphValue? Assembled(OnnxRewriter rewriter, GraphNode node)
    {
        GraphValue? positions = null;
        GraphNode? join = node.Op is ConcatOp ? node : null;
        if (node.Op is AddOp && node.Operands.FirstOrDefault(o => o is { IsWeight: true, Shape.Rank: 3 }) is { } added)
            (positions, join) = (added, OnnxRewriter.Made<ConcatOp>(node.Operands.FirstOrDefault(o => o != added, added)));
        if (join is not { Op: ConcatOp { Axis: 1 }, Operands.Count: >= 2 } || join.Output.Shape.Rank != 3) return null;
        GraphValue?[] parts = [.. join.Operands];
        GraphValue[] prefix = [.. parts[..^1].Select(p => OnnxRewriter.Made<RepeatOp>(p)?.Operands[0]).OfType<GraphValue>().Where(w => w.IsWeight)];
        if (prefix.Length != parts.Length - 1 || prefix.Any(p => p.Shape is not { Rank: 3 } front || front[0] != 1)) return null;
        GraphValue? patches = parts[^1];
        if (positions is null)
        {
            if (OnnxRewriter.Made<AddOp>(patches) is not { } placed) return null;
            positions = placed.Operands.FirstOrDefault(o => o is { IsWeight: true, Shape.Rank: 3 });
            if (positions is null) return null;
            patches = placed.Operands.FirstOrDefault(o => o != positions, positions);
        }
        int count = prefix.Sum(p => p.Shape[1]), width = join.Output.Shape[2], tokens = join.Output.Shape[1];
        if (positions.Shape[0] != 1 || positions.Shape[2] != width || patches is null) return null;
        bool placesPatches = positions.Shape[1] == tokens - count;
        if (!placesPatches && positions.Shape[1] != tokens) return null;
        if (Patches(rewriter, node, patches) is not { } rows) return null;
        if (placesPatches)
        {
            GraphValue of = positions;
            positions = rewriter.Weight($"{of.Name}.all", new Shape(1, tokens, width), of.Tensor.RequiresGrad, to =>
            {
                to[..(count * width)].Clear();
                of.Tensor.Span.CopyTo(to[(count * width)..]);
            });
        }
        var made = rewriter.Insert(node, node.Name, new AssembleTokensOp(rows.Tensor, positions.Tensor, [.. prefix.Select(p => p.Tensor)]),
            [rows, positions, .. prefix]);
        node.Output.Name += ".old";
        return made;
    }

    /// <summary>The rows behind those in front, turned to [N, D, H, W] for a convolution.</summary>
    private static GraphValue? Maps(OnnxRewriter rewriter, GraphNode node)
    {
        if (node.Op is not ReshapeOp || node.Output.Shape.Rank != 4) return null;
        if (OnnxRewriter.Made<PermuteOp>(node.Operands[0]) is not { Op: PermuteOp { Axes: [0, 2, 1] } } turned) return null;
        GraphNode? taken = OnnxRewriter.Made<TakeRowsOp>(OnnxRewriter.Made<ReshapeOp>(turned.Operands[0])?.Operands[0]);
        Shape grid = node.Output.Shape;
        if (taken?.Op is not TakeRowsOp take || grid[1] != take.Result[1] || grid[2] * grid[3] != take.Count
            || take.Inputs[0].Rows!.MaxLength != take.Start + take.Count) return null;
        return rewriter.Insert(node, rewriter.Free($"{node.Name}.maps"),
            new RowsToMapsOp(take.Inputs[0], take.Start, grid[2], grid[3]), taken.Operands[0]);
    }

    /// <summary>[N, D, H, W] as tokens behind some rows, or behind zeros.</summary>
    private static GraphValue? RowsOfMaps(OnnxRewriter rewriter, GraphNode node, Dictionary<GraphValue, GraphValue> rows)
    {
        if (node.Output.Shape.Rank != 3 || node.Op is not (ConcatOp { Axis: 1 } or PadOp { Value: 0 })) return null;
        if (OnnxRewriter.Made<PermuteOp>(node.Operands[^1]) is not { Op: PermuteOp { Axes: [0, 2, 1] } } turned) return null;
        if (OnnxRewriter.Made<ReshapeOp>(turned.Operands[0])?.Operands[0] is not { Shape: { Rank: 4 } maps } x) return null;
        if (maps[1] != node.Output.Shape[2] || maps[2] * maps[3] != turned.Output.Shape[1]) return null;
        int prefix = node.Output.Shape[1] - turned.Output.Shape[1];
        GraphValue? first = null;
        bool fits = node.Op is PadOp pad ? pad.Before is [0, var before, 0] && before == prefix
            : node.Operands.Count == 2 && rows.TryGetValue(node.Operands[0]!, out first);
        if (!fits) return null;
        GraphValue made = rewriter.Insert(node, node.Name, new MapsToRowsOp(x.Tensor, first?.Tensor, prefix), x, first);
        node.Output.Name += ".old";
        return made;
    }

    /// <summary>A convolution whose stride is its kernel, flattened and turned, as a linear layer of patches.</summary>
    private static GraphValue? Patches(OnnxRewriter rewriter, GraphNode at, GraphValue patches)
    {
        if (OnnxRewriter.Made<PermuteOp>(patches) is not { Op: PermuteOp { Axes: [0, 2, 1] } } turned) return null;
        if (OnnxRewriter.Made<ReshapeOp>(turned.Operands[0]) is not { } flat) return null;
        if (OnnxRewriter.Made<Conv2dOp>(flat.Operands[0]) is not { Op: Conv2dOp { Groups: 1, Dilation: 1 } conv } made) return null;
        GraphValue x = made.Operands[0]!, weight = made.Operands[1]!;
        GraphValue? bias = made.Operands.ElementAtOrDefault(2);
        Shape kernel = weight.Shape, image = x.Shape;
        int patch = conv.Stride.Rows;
        bool fits = weight.IsWeight && conv.Stride == patch && kernel[2] == patch && kernel[3] == patch && conv.Padding == default
            && image[2] % patch == 0 && image[3] % patch == 0 && turned.Operands[0]!.Shape.Rank == 3
            && turned.Operands[0]!.Shape[1] == kernel[0];
        if (!fits) return null;
        // As this library's own files call it: the convolution after what comes of it.
        GraphNode named = made.Name == $"{turned.Name}.conv" ? turned : made;
        string name = named.Name;
        GraphValue rows = rewriter.Insert(at, rewriter.Free($"{name}.patches"), new PatchesToRowsOp(x.Tensor, patch), x);
        GraphValue matrix = rewriter.Insert(at, rewriter.Free($"{name}.matrix"), new ReshapeOp(weight.Tensor, [1, 3], [1, 1], [-1, -1]), weight);
        named.Output.Name += ".old";
        return rewriter.Insert(at, name, new LinearOp(rows.Tensor, matrix.Tensor, bias?.Tensor), rows, matrix, bias);
    }
}
