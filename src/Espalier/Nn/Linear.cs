using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>y = x Wᵀ + b. x [rows, in] -> [rows, out]; parameters <c>weight</c> [out, in] and <c>bias</c> [out].</summary>
public sealed class Linear : Module
{
    public Linear(int inputs, int outputs, ref Rng rng, bool bias = true)
    {
        Weight = Parameter("weight", new Shape(outputs, inputs));
        Bias = bias ? Parameter("bias", new Shape(outputs)) : null;
        Init.DefaultLinear(Weight, Bias, ref rng);
    }

    public Tensor Weight { get; }

    public Tensor? Bias { get; }

    /// <param name="residual">[rows, out], added at the end.</param>
    /// <param name="gelu">Applies GELU after the bias.</param>
    public Tensor Forward(Tensor x, Tensor? residual = null, bool gelu = false) => F.Linear(x, Weight, Bias, residual, gelu);
}
