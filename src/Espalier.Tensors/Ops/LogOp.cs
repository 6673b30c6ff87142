using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = ln x. x of any shape -> y of the same shape.</summary>
public sealed class LogOp(Tensor x) : UnaryOp(x)
{
    public override string Name => "Log";

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y) => TensorPrimitives.Log(x, y);

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d) =>
        TensorPrimitives.Divide(1, x, d);
}

public static partial class F
{
    /// <inheritdoc cref="LogOp"/>
    public static Tensor Log(Tensor x) => new LogOp(x).Run();
}
