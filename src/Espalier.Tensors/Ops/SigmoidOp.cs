using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = 1 / (1 + e^-x). x of any shape -> y of the same shape.</summary>
public sealed class SigmoidOp(Tensor x) : UnaryOp(x)
{
    public override string Name => "Sigmoid";

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y) => TensorPrimitives.Sigmoid(x, y);

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d)
    {
        TensorPrimitives.Subtract(1, y, d);
        TensorPrimitives.Multiply(d, y, d);
    }
}

public static partial class F
{
    /// <inheritdoc cref="SigmoidOp"/>
    public static Tensor Sigmoid(Tensor x) => new SigmoidOp(x).Run();
}
