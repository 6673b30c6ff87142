using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = tanh x. x of any shape -> y of the same shape.</summary>
public sealed class TanhOp(Tensor x) : UnaryOp(x)
{
    public override string Name => "Tanh";

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y) => TensorPrimitives.Tanh(x, y);

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d)
    {
        TensorPrimitives.Multiply(y, y, d);
        TensorPrimitives.Subtract(1, d, d);
    }
}

public static partial class F
{
    /// <inheritdoc cref="TanhOp"/>
    public static Tensor Tanh(Tensor x) => new TanhOp(x).Run();
}
