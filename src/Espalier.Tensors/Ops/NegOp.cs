using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = -x. x of any shape -> y of the same shape.</summary>
public sealed class NegOp(Tensor x) : UnaryOp(x)
{
    public override string Name => "Neg";

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y) => TensorPrimitives.Negate(x, y);

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d) => d.Fill(-1);
}

public static partial class F
{
    /// <inheritdoc cref="NegOp"/>
    public static Tensor Neg(Tensor x) => new NegOp(x).Run();
}
