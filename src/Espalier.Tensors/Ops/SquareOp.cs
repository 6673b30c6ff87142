using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = x². x of any shape -> y of the same shape.</summary>
public sealed class SquareOp(Tensor x) : UnaryOp(x)
{
    public override string Name => "Square";

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y) => TensorPrimitives.Multiply(x, x, y);

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d) =>
        TensorPrimitives.Add(x, x, d);
}

public static partial class F
{
    /// <inheritdoc cref="SquareOp"/>
    public static Tensor Square(Tensor x) => new SquareOp(x).Run();
}
