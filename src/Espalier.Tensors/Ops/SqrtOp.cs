using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = √x. x of any shape -> y of the same shape.</summary>
public sealed class SqrtOp(Tensor x) : UnaryOp(x)
{
    public override string Name => "Sqrt";

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y) => TensorPrimitives.Sqrt(x, y);

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d) =>
        TensorPrimitives.Divide(0.5f, y, d);
}

public static partial class F
{
    /// <inheritdoc cref="SqrtOp"/>
    public static Tensor Sqrt(Tensor x) => new SqrtOp(x).Run();
}
