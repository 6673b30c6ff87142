using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = a / b.</summary>
/// <inheritdoc/>
public sealed class DivOp(Tensor a, Tensor b) : BinaryOp(a, b)
{
    public override string Name => "Div";

    protected internal override void Compute(ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> y) =>
        TensorPrimitives.Divide(a, b, y);

    protected override void Compute(ReadOnlySpan<float> a, float b, Span<float> y) => TensorPrimitives.Divide(a, b, y);

    protected override void Compute(float a, ReadOnlySpan<float> b, Span<float> y) => TensorPrimitives.Divide(a, b, y);

    protected override void GradientA(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> da) =>
        TensorPrimitives.Divide(dy, b, da);

    protected override void GradientB(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> db)
    {
        // -dy a / b / b
        TensorPrimitives.Divide(a, b, db);
        TensorPrimitives.Divide(db, b, db);
        TensorPrimitives.Multiply(db, dy, db);
        TensorPrimitives.Negate(db, db);
    }
}

public static partial class F
{
    /// <summary>a / b under NumPy's broadcasting rules.</summary>
    public static Tensor Div(Tensor a, Tensor b) => new DivOp(a, b).Run();
}
