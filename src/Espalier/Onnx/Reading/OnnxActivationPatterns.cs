using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Activations that exporters spell out: GELU by the error function and by tanh, SiLU and its relatives.</summary>
internal static class OnnxActivationPatterns
{
    private const double Near = 1e-4;

    public static void Match(OnnxRewriter rewriter, GraphNode node)
    {
        switch (node.Op)
        {
            case ElementOp { Function: ElementFunction.Erf } when Scaled(node.Operands[0]) is ({ } x, var s)
                && Is(s, Math.Sqrt(0.5)):
                if (HalfOf(rewriter, node, x) is { } gelu) rewriter.Replace(gelu, new GeluOp(x.Tensor), x);
                break;
            case TanhOp when OfTanh(node.Operands[0]) is { } x:
                if (HalfOf(rewriter, node, x) is { } tanh)
                    rewriter.Replace(tanh, new ElementOp(x.Tensor, ElementFunction.GeluTanh), x);
                break;
            // PyTorch 1.13 writes ReLU6 so; what is below zero is cut either way.
            case ClampOp { Low: >= 0 } clamp when OnnxRewriter.Made<ReluOp>(node.Operands[0]) is { } relu:
                GraphValue uncut = relu.Operands[0]!;
                rewriter.Replace(node, new ClampOp(uncut.Tensor, clamp.Low, clamp.High), uncut);
                break;
            case MulOp:
                Gated(rewriter, node, node.Operands[0]!, node.Operands[1]!);
                break;
        }
    }

    /// <summary>x · gate(x).</summary>
    private static void Gated(OnnxRewriter rewriter, GraphNode node, GraphValue a, GraphValue b)
    {
        foreach (var (x, gate) in new[] { (a, b), (b, a) })
        {
            switch (gate.Producer)
            {
                case { Op: SigmoidOp } sigmoid when Scaled(sigmoid.Operands[0]) is var (inside, scale) && inside == x:
                    rewriter.Replace(node, scale == 1 ? new SiluOp(x.Tensor)
                        : new ElementOp(x.Tensor, ElementFunction.Swish, (float)scale), x);
                    return;
                case { Op: ElementOp { Function: ElementFunction.HardSigmoid } f } hard when hard.Operands[0] == x
                    && Is(f.A, 1 / 6.0) && Is(f.B, 0.5):
                    rewriter.Replace(node, new ElementOp(x.Tensor, ElementFunction.HardSwish), x);
                    return;
            }
            // x min(max(x + 3, 0), 6) / 6, wherever the division stands.
            if (Scaled(gate) is not ({ Producer: { Op: ClampOp { Low: 0, High: 6 } } clamp }, var scaled)
                || OnnxRewriter.Made<AffineOp>(clamp.Operands[0]) is not { Op: AffineOp { Scale: 1, Shift: 3 } } shifted
                || shifted.Operands[0] != x) continue;
            GraphNode? whole = Is(scaled, 1 / 6.0) ? node
                : scaled == 1 && rewriter.Reader(node.Output) is { Op: AffineOp { Shift: 0 } sixth } last
                    && Is(sixth.Scale, 1 / 6.0) ? last : null;
            if (whole is not null) rewriter.Replace(whole, new ElementOp(x.Tensor, ElementFunction.HardSwish), x);
            return;
        }
    }

    /// <summary>
    /// The node that gives x/2 (1 + f), f being what a node gives, whatever the order of the steps: its value is followed as
    /// a f + b, or that times x.
    /// </summary>
    private static GraphNode? HalfOf(OnnxRewriter rewriter, GraphNode f, GraphValue x)
    {
        (double a, double b, bool timesX) = (1, 0, false);
        for (GraphNode? at = f; ; f = at)
        {
            if (timesX && Is(a, 0.5) && Is(b, 0.5)) return f;
            at = rewriter.Reader(f.Output);
            switch (at?.Op)
            {
                case AffineOp affine when !timesX || affine.Shift == 0:
                    (a, b) = (a * affine.Scale, b * affine.Scale + affine.Shift);
                    break;
                case MulOp when !timesX && Scaled(at.Operands.FirstOrDefault(o => o != f.Output, f.Output)) is var (other, scale) && other == x:
                    (a, b, timesX) = (a * scale, b * scale, true);
                    break;
                default: return null;
            }
        }
    }

    /// <summary>x, where the value is sqrt(2/π) (x + 0.044715 x³).</summary>
    private static GraphValue? OfTanh(GraphValue? value)
    {
        if (Scaled(value) is not ({ } inner, var outer) || !Is(outer, Math.Sqrt(2 / Math.PI))) return null;
        if (OnnxRewriter.Made<AddOp>(inner) is not { } sum) return null;
        for (int i = 0; i < 2; i++)
            if (Scaled(sum.Operands[i]) is ({ } cube, var scale) && Is(scale, 0.044715) && IsCube(cube, sum.Operands[1 - i]!))
                return sum.Operands[1 - i];
        return null;
    }

    private static bool IsCube(GraphValue cube, GraphValue x) => cube.Producer switch
    {
        { Op: PowOp { Exponent: 3 } } pow => pow.Operands[0] == x,
        { Op: MulOp } mul => (mul.Operands[0] == x && OnnxRewriter.SquareOf(mul.Operands[1]) == x)
            || (mul.Operands[1] == x && OnnxRewriter.SquareOf(mul.Operands[0]) == x),
        _ => false,
    };

    /// <summary>A value and what it is multiplied by.</summary>
    private static (GraphValue? Value, double Scale) Scaled(GraphValue? value) =>
        OnnxRewriter.Made<AffineOp>(value) is { Op: AffineOp { Shift: 0 } affine } made ? (made.Operands[0], affine.Scale)
            : (value, 1);

    private static bool Is(double a, double b) => Math.Abs(a - b) < Near;
}
