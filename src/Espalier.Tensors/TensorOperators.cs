namespace Espalier.Tensors;

/// <summary>What <see cref="F"/> calls Add, Sub, Mul, Div and Neg, as they are written in formulas; results are recorded likewise.
/// </summary>
public sealed unsafe partial class Tensor
{
    public static Tensor operator +(Tensor a, Tensor b) => F.Add(a, b);

    public static Tensor operator +(Tensor a, float b) => F.Add(a, b);

    public static Tensor operator +(float a, Tensor b) => F.Add(b, a);

    public static Tensor operator -(Tensor a, Tensor b) => F.Sub(a, b);

    public static Tensor operator -(Tensor a, float b) => F.Add(a, -b);

    public static Tensor operator -(float a, Tensor b) => F.Affine(b, -1, a);

    public static Tensor operator -(Tensor a) => F.Neg(a);

    public static Tensor operator *(Tensor a, Tensor b) => F.Mul(a, b);

    public static Tensor operator *(Tensor a, float b) => F.Mul(a, b);

    public static Tensor operator *(float a, Tensor b) => F.Mul(b, a);

    public static Tensor operator /(Tensor a, Tensor b) => F.Div(a, b);

    public static Tensor operator /(Tensor a, float b) => F.Mul(a, 1 / b);
}
