using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Reshapes and reorderings of axes: those that follow one another become one, those that undo one another go.</summary>
internal static class OnnxMovePatterns
{
    /// <summary>In front of one layer; no exporter writes as many.</summary>
    private const int MostMoves = 64;

    public static void Tidy(OnnxRewriter rewriter, GraphNode node)
    {
        if (!rewriter.Graph.Nodes.Contains(node)) return;
        GraphValue x = node.Operands.Count > 0 && node.Operands[0] is { } first ? first : node.Output;
        switch (node.Op)
        {
            case ReshapeOp when OnnxRewriter.Made<ReshapeOp>(x) is { } before:
                GraphValue source = before.Operands[0]!;
                if (source.Shape == node.Output.Shape && rewriter.OfThree(source) == rewriter.OfThree(node.Output))
                    Drop(rewriter, node, source);
                else if (!source.IsWeight) rewriter.Replace(node, OnnxRewriter.Reshaped(source.Tensor, rewriter.OfThree(source),
                    node.Output.Shape.ToArray(), rewriter.OfThree(node.Output).ToArray()), source);
                break;
            case ReshapeOp when OnnxRewriter.Made<SliceOp>(x) is { Op: SliceOp slice } taken
                && OnnxRewriter.Made<PermuteOp>(taken.Operands[0]) is { Op: PermuteOp order } turned:
                Taken(rewriter, node, slice, order, turned.Operands[0]!);
                break;
            case PermuteOp last when OnnxRewriter.Made<PermuteOp>(x) is { Op: PermuteOp earlier } before:
                int[] axes = [.. last.Axes.Select(a => earlier.Axes[a])];
                if (axes.SequenceEqual(Enumerable.Range(0, axes.Length))) Drop(rewriter, node, before.Operands[0]!);
                else rewriter.Replace(node, new PermuteOp(before.Operands[0]!.Tensor, axes), before.Operands[0]);
                break;
        }
    }

    /// <summary>
    /// Queries, keys or values that are taken from an axis in front of the images: taken before the axes are turned, so that
    /// images stay in front.
    /// </summary>
    private static void Taken(OnnxRewriter rewriter, GraphNode node, SliceOp slice, PermuteOp order, GraphValue x)
    {
        int axis = slice.Axis, from = order.Axes[axis], rank = x.Shape.Rank;
        int[] kept = [.. Enumerable.Range(0, rank).Where(i => i != from)],
            left = [.. order.Axes.Where(a => a != from).Select(a => a > from ? a - 1 : a)];
        Shape three = rewriter.OfThree(x);
        bool drops = slice.Result[axis] == 1 && node.Output.Shape == new Shape([.. left.Select(i => x.Shape[kept[i]])]);
        if (!drops || axis != 0) return;
        GraphValue part =
            rewriter.Insert(node, rewriter.Free($"{node.Name}.part"), new SliceOp(x.Tensor, from, slice.Start, 1), x);
        GraphValue flat =
            rewriter.Insert(node, rewriter.Free($"{node.Name}.flat"), OnnxRewriter.Reshaped(part.Tensor, rewriter.OfThree(part),
            [.. kept.Select(i => x.Shape[i])], [.. kept.Select(i => three[i])]), part);
        rewriter.Replace(node, new PermuteOp(flat.Tensor, left), flat);
    }

    /// <summary>
    /// Where images are not the first axis, as in PyTorch's attention, a linear layer is done before the reordering instead of
    /// after it, which leaves the reordering to what undoes it.
    /// </summary>
    public static void Sink(OnnxRewriter rewriter, GraphNode node) => Sink(rewriter, node, 0);

    private static void Sink(OnnxRewriter rewriter, GraphNode node, int depth)
    {
        if (node.Op is ReshapeOp or PermuteOp)
        {
            Tidy(rewriter, node);
            return;
        }
        if (node.Op is not LinearOp { Residual: null } linear || node.Operands[0]?.Producer is not { } move) return;
        if (move.Op is not (ReshapeOp or PermuteOp) || move.Operands[0] is not { IsWeight: false } x) return;
        if (rewriter.IsImagesFirst(x) && rewriter.IsImagesFirst(move.Output)) return;
        int rank = x.Shape.Rank;
        bool keepsLast = move.Op is PermuteOp permute ? permute.Axes[^1] == rank - 1
            : move.Op.Settings.Ints("from")[^1] == 1 && move.Op.Settings.Ints("to")[^1] == 1;
        if (!keepsLast) return;
        // The layer keeps its name, unless that is the graph's for what it gives.
        string name = node.Name;
        bool output = rewriter.Graph.Outputs.Contains(node.Output);
        GraphValue y = rewriter.Insert(node, output ? rewriter.Free($"{name}.rows") : name,
            new LinearOp(x.Tensor, linear.Inputs[1], linear.Bias, null, linear.Gelu), x, node.Operands[1], node.Operands[2]);
        GraphValue moved = rewriter.Replace(node, move.Op.On([y.Tensor]), y);
        if (!output) moved.Name = rewriter.Free($"{name}.moved");
        if (depth < MostMoves) Sink(rewriter, y.Producer!, depth + 1);
        Tidy(rewriter, moved.Producer!);
    }

    /// <summary>Whoever read the node reads what it would have given back; where the graph gives it, its name stays.</summary>
    private static void Drop(OnnxRewriter rewriter, GraphNode node, GraphValue source)
    {
        bool output = rewriter.Graph.Outputs.Contains(node.Output);
        if (output && (source.Producer is null || rewriter.Graph.Outputs.Contains(source))) return;
        rewriter.Forward(node.Output, source);
        // A pool and what flattens it are one op, called by the last of both.
        if (!output && source.Producer?.Op is GlobalAvgPool2dOp)
            (node.Output.Name, source.Name) = (source.Name + ".old", node.Name);
        if (!output) return;
        (node.Output.Name, source.Name) = (source.Name + ".old", node.Output.Name);
    }
}
