using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>
/// Normalises each row to mean 0 and variance 1, then scales and shifts. x [rows, D] -> [rows, D]. Where channels are removed
/// later, see <see cref="LayerNormOp"/>.
/// </summary>
public sealed class LayerNorm : Module
{
    private readonly float epsilon;
    private readonly int width;

    public LayerNorm(int width, float epsilon = 1e-5f)
    {
        (this.epsilon, this.width) = (epsilon, width);
        Weight = Parameter("weight", new Shape(width));
        Bias = Parameter("bias", new Shape(width));
        Weight.Fill(1);
    }

    public Tensor Weight { get; }

    public Tensor Bias { get; }

    public Tensor Forward(Tensor x) => F.LayerNorm(x, Weight, Bias, epsilon, width);
}
