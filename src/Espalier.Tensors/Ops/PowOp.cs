using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = x^p. x of any shape -> y of the same shape.</summary>
public sealed class PowOp(Tensor x, float exponent) : UnaryOp(x)
{
    public override string Name => "Pow";

    public float Exponent => exponent;

    protected override void Save(OpSettings settings) => settings.Set("exponent", exponent);

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y) => TensorPrimitives.Pow(x, exponent, y);

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d)
    {
        TensorPrimitives.Pow(x, exponent - 1, d);
        TensorPrimitives.Multiply(d, exponent, d);
    }
}

public static partial class F
{
    /// <inheritdoc cref="PowOp"/>
    public static Tensor Pow(Tensor x, float exponent) => new PowOp(x, exponent).Run();
}
