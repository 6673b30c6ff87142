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
        Each(rewriter, LayerNorm);
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

    /// <summary>(x - mean) / sqrt(mean of its square + epsilon) · gamma + beta.</summary>
    private static void LayerNorm(OnnxRewriter rewriter, GraphNode node)
    {
        if (node.Op is not DivOp || OnnxRewriter.Made<SqrtOp>(node.Operands[1]) is not { } root) return;
        if (OnnxRewriter.Made<AffineOp>(root.Operands[0])
            is not { Op: AffineOp { Scale: 1, Shift: > 0 and var epsilon } } shifted) return;
        if (OnnxRewriter.Made<MeanOp>(shifted.Operands[0]) is not { } variance || !OverLast(variance)) return;
        if (Centred(node.Operands[0]) is not { } x || Centred(OnnxRewriter.SquareOf(variance.Operands[0])) != x) return;
        int width = x.Shape[-1];
        if (Scaled<MulOp>(rewriter, node, width) is not { } mul) return;
        GraphValue gamma = mul.Weight;
        (GraphNode Node, GraphValue Weight)? add = Scaled<AddOp>(rewriter, mul.Node, width);
        GraphValue beta = add?.Weight
            ?? rewriter.Weight($"{gamma.Name}.shift", new Shape(width), trained: false, to => to.Clear());
        rewriter.Replace(add?.Node ?? mul.Node, new LayerNormOp(x.Tensor, gamma.Tensor, beta.Tensor, epsilon), x, gamma, beta);
    }

    private static bool OverLast(GraphNode mean) =>
        mean.Op is MeanOp { KeepDims: true } op && op.Axes is [var axis] && axis == mean.Operands[0]!.Shape.Rank - 1;

    /// <summary>x, where the value is x less its mean along the last axis.</summary>
    private static GraphValue? Centred(GraphValue? value) => OnnxRewriter.Made<SubOp>(value) is { } sub
        && OnnxRewriter.Made<MeanOp>(sub.Operands[1]) is { } mean && OverLast(mean) && mean.Operands[0] == sub.Operands[0]
        ? sub.Operands[0] : null;

    /// <summary>The one reader of a node, where that joins a weight of the width to it.</summary>
    private static (GraphNode Node, GraphValue Weight)? Scaled<T>(OnnxRewriter rewriter, GraphNode node, int width)
        where T : Op => rewriter.Reader(node.Output) is { Op: T } reader
            && reader.Operands.FirstOrDefault(o => o != node.Output) is { IsWeight: true } weight
            && weight.Shape == new Shape(width) ? (reader, weight) : null;
}
