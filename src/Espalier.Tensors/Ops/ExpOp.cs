using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = e^x. x of any shape -> y of the same shape.</summary>
public sealed class ExpOp(Tensor x) : UnaryOp(x)
{
    public override string Name => "Exp";

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y) => TensorPrimitives.Exp(x, y);

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d) => y.CopyTo(d);
}

public static partial class F
{
    /// <inheritdoc cref="ExpOp"/>
    public static Tensor Exp(Tensor x) => new ExpOp(x).Run();
}
