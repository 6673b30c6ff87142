using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = a - b.</summary>
/// <inheritdoc/>
public sealed class SubOp(Tensor a, Tensor b) : BinaryOp(a, b)
{
    public override string Name => "Sub";

    protected internal override void Compute(ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> y) =>
        TensorPrimitives.Subtract(a, b, y);

    protected override void Compute(ReadOnlySpan<float> a, float b, Span<float> y) => TensorPrimitives.Subtract(a, b, y);

    protected override void Compute(float a, ReadOnlySpan<float> b, Span<float> y) => TensorPrimitives.Subtract(a, b, y);

    protected override void GradientA(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> da) =>
        dy.CopyTo(da);

    protected override void GradientB(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> db) =>
        TensorPrimitives.Negate(dy, db);
}

public static partial class F
{
    /// <summary>a - b under NumPy's broadcasting rules.</summary>
    public static Tensor Sub(Tensor a, Tensor b) => new SubOp(a, b).Run();
}
