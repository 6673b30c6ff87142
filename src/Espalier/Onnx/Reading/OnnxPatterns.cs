using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Puts the patterns that exporters leave together to ops: norms, activations, attention, token rows. What matches none stays as
/// it is, and runs and trains; patterns give speed, and say what belongs together.
/// </summary>
internal static class OnnxPatterns
{
    public static void Apply(Graph graph)
    {
        var rewriter = new OnnxRewriter(graph);
        Each(rewriter, OnnxMovePatterns.Tidy);
        Each(rewriter, AddBias);
        Each(rewriter, OnnxNormPattern.Match);
        Each(rewriter, OnnxActivationPatterns.Match);
        Each(rewriter, OnnxMovePatterns.Sink);
        Each(rewriter, OnnxAttentionPattern.Match);
        Each(rewriter, OnnxMovePatterns.Sink);
        Each(rewriter, OnnxMovePatterns.Tidy);
        OnnxTokenRows.Convert(rewriter);
        graph.Refresh();
        foreach (Tensor unread in graph.DropUnreadWeights()) unread.Dispose();
        rewriter.Untie();
    }

    private static void Each(OnnxRewriter rewriter, Action<OnnxRewriter, GraphNode> match)
    {
        foreach (GraphNode node in rewriter.Graph.Nodes.ToArray()) match(rewriter, node);
        rewriter.Sweep();
    }

    /// <summary>A weight that is added to what a linear layer gives is its bias.</summary>
    private static void AddBias(OnnxRewriter rewriter, GraphNode node)
    {
        if (node.Op is not AddOp) return;
        for (int i = 0; i < 2; i++)
        {
            if (node.Operands[1 - i] is not { IsWeight: true, Shape.Rank: 1 } bias || node.Operands[i] is not { } product)
                continue;
            if (OnnxRewriter.Made<LinearOp>(product)
                is not { Op: LinearOp { Bias: null, Residual: null, Gelu: false } linear } made) continue;
            if (rewriter.Reader(product) != node || bias.Shape[0] != product.Shape[-1]) continue;
            rewriter.Replace(node, new LinearOp(linear.Inputs[0], linear.Inputs[1], bias.Tensor), made.Operands[0],
                made.Operands[1], bias);
            // Exporters turn the weight and name it anew; the bias still has its layer's name.
            if (bias.Name.EndsWith(".bias", StringComparison.Ordinal) && made.Operands[1] is { IsWeight: true } weight
                && !weight.Name.EndsWith(".weight", StringComparison.Ordinal))
                rewriter.Graph.RenameWeight(weight, rewriter.Free($"{bias.Name[..^".bias".Length]}.weight"));
            return;
        }
    }
}
