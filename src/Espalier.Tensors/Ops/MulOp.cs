using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = a · b, element by element.</summary>
/// <inheritdoc/>
public sealed class MulOp(Tensor a, Tensor b) : BinaryOp(a, b)
{
    public override string Name => "Mul";

    protected internal override void Compute(ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> y) =>
        TensorPrimitives.Multiply(a, b, y);

    protected override void Compute(ReadOnlySpan<float> a, float b, Span<float> y) => TensorPrimitives.Multiply(a, b, y);

    protected override void Compute(float a, ReadOnlySpan<float> b, Span<float> y) => TensorPrimitives.Multiply(b, a, y);

    protected override void GradientA(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> da) =>
        TensorPrimitives.Multiply(dy, b, da);

    protected override void GradientB(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> db) =>
        TensorPrimitives.Multiply(dy, a, db);
}

public static partial class F
{
    /// <summary>a · b, element by element under NumPy's broadcasting rules.</summary>
    public static Tensor Mul(Tensor a, Tensor b) => new MulOp(a, b).Run();
}
