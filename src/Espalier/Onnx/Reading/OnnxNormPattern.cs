using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Layer norm as exporters spell it out: (x - mean) / sqrt(mean of its square + epsilon) · gamma + beta, divided by the root or
/// multiplied by its reciprocal, with or without gamma and beta.
/// </summary>
internal static class OnnxNormPattern
{
    public static void Match(OnnxRewriter rewriter, GraphNode node)
    {
        var (difference, shifted) = Quotient(node);
        if (Centred(difference) is not { } x || OnnxRewriter.Made<AffineOp>(shifted)
            is not { Op: AffineOp { Scale: 1, Shift: > 0 and var epsilon } } sum) return;
        if (OnnxRewriter.Made<MeanOp>(sum.Operands[0]) is not { } variance || !OverLast(variance)) return;
        if (Centred(OnnxRewriter.SquareOf(variance.Operands[0])) != x) return;
        int width = x.Shape[-1];
        (GraphNode Node, GraphValue Weight)? mul = Joined<MulOp>(rewriter, node, width);
        (GraphNode Node, GraphValue Weight)? add = Joined<AddOp>(rewriter, mul?.Node ?? node, width);
        GraphNode last = add?.Node ?? mul?.Node ?? node;
        GraphValue gamma = mul?.Weight
            ?? rewriter.Weight($"{last.Name}.scale", new Shape(width), trained: false, to => to.Fill(1));
        GraphValue beta = add?.Weight
            ?? rewriter.Weight($"{gamma.Name}.shift", new Shape(width), trained: false, to => to.Clear());
        rewriter.Replace(last, new LayerNormOp(x.Tensor, gamma.Tensor, beta.Tensor, epsilon), x, gamma, beta);
    }

    /// <summary>a and b, where the node gives a / sqrt(b).</summary>
    private static (GraphValue? Top, GraphValue? UnderRoot) Quotient(GraphNode node)
    {
        if (node.Op is DivOp) return (node.Operands[0], OnnxRewriter.Made<SqrtOp>(node.Operands[1])?.Operands[0]);
        if (node.Op is not MulOp) return default;
        return InverseRoot(node.Operands[1]) is { } right ? (node.Operands[0], right)
            : (node.Operands[1], InverseRoot(node.Operands[0]));
    }

    /// <summary>b, where the value is 1 / sqrt(b).</summary>
    private static GraphValue? InverseRoot(GraphValue? value) => value?.Producer switch
    {
        { Op: ElementOp { Function: ElementFunction.Reciprocal } } made =>
            OnnxRewriter.Made<SqrtOp>(made.Operands[0])?.Operands[0],
        { Op: PowOp { Exponent: -0.5f } } power => power.Operands[0],
        _ => null,
    };

    private static bool OverLast(GraphNode mean) =>
        mean.Op is MeanOp { KeepDims: true } op && op.Axes is [var axis] && axis == mean.Operands[0]!.Shape.Rank - 1;

    /// <summary>x, where the value is x less its mean along the last axis.</summary>
    private static GraphValue? Centred(GraphValue? value) => OnnxRewriter.Made<SubOp>(value) is { } sub
        && OnnxRewriter.Made<MeanOp>(sub.Operands[1]) is { } mean && OverLast(mean) && mean.Operands[0] == sub.Operands[0]
        ? sub.Operands[0] : null;

    /// <summary>The one reader of a node, where that joins a weight of the width to it.</summary>
    private static (GraphNode Node, GraphValue Weight)? Joined<T>(OnnxRewriter rewriter, GraphNode node, int width)
        where T : Op => rewriter.Reader(node.Output) is { Op: T } reader
            && reader.Operands.FirstOrDefault(o => o != node.Output) is { IsWeight: true } weight
            && weight.Shape == new Shape(width) ? (reader, weight) : null;
}
