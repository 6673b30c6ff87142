using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>y = scale · x + shift. x of any shape -> y of the same shape.</summary>
public sealed class AffineOp(Tensor x, float scale, float shift) : UnaryOp(x)
{
    public override string Name => "Affine";

    public float Scale => scale;

    public float Shift => shift;

    protected override void Save(OpSettings settings) => settings.Set("scale", scale).Set("shift", shift);

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y)
    {
        TensorPrimitives.Multiply(x, scale, y);
        if (shift != 0) TensorPrimitives.Add(y, shift, y);
    }

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d) => d.Fill(scale);
}

public static partial class F
{
    /// <inheritdoc cref="AffineOp"/>
    public static Tensor Add(Tensor x, float value) => new AffineOp(x, 1, value).Run();

    /// <inheritdoc cref="AffineOp"/>
    public static Tensor Mul(Tensor x, float value) => new AffineOp(x, value, 0).Run();

    /// <inheritdoc cref="AffineOp"/>
    public static Tensor Affine(Tensor x, float scale, float shift) => new AffineOp(x, scale, shift).Run();
}
