using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = a + b.</summary>
/// <inheritdoc/>
public sealed class AddOp(Tensor a, Tensor b) : BinaryOp(a, b)
{
    public override string Name => "Add";

    protected override bool PassesToB => true;

    protected internal override void Compute(ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> y) =>
        TensorPrimitives.Add(a, b, y);

    protected override void Compute(ReadOnlySpan<float> a, float b, Span<float> y) => TensorPrimitives.Add(a, b, y);

    protected override void Compute(float a, ReadOnlySpan<float> b, Span<float> y) => TensorPrimitives.Add(b, a, y);

    protected override void GradientA(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> da) =>
        dy.CopyTo(da);

    protected override void GradientB(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> db) =>
        dy.CopyTo(db);
}

public static partial class F
{
    /// <summary>a + b under NumPy's broadcasting rules.</summary>
    public static Tensor Add(Tensor a, Tensor b) => new AddOp(a, b).Run();
}
