using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>
/// Normalises groups of neighbouring channels of each image. x [N, C, H, W] -> the same shape; parameters <c>weight</c> and
/// <c>bias</c> [C].
/// </summary>
public sealed class GroupNorm : Module
{
    private readonly int size;
    private readonly float epsilon;

    public GroupNorm(int groups, int channels, float epsilon = 1e-5f)
    {
        if (groups < 1 || channels % groups != 0)
            throw new ArgumentException($"GroupNorm: {channels} channels do not divide into {groups} groups");
        (size, this.epsilon) = (channels / groups, epsilon);
        Weight = Parameter("weight", new Shape(channels));
        Bias = Parameter("bias", new Shape(channels));
        Weight.Fill(1);
    }

    public Tensor Weight { get; }

    public Tensor Bias { get; }

    public Tensor Forward(Tensor x) => F.GroupNorm(x, Weight, Bias, Weight.Shape[0] / size, epsilon);
}
