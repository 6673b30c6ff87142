using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>
/// 2-D convolution. x [N, C, H, W] -> [N, O, OH, OW]; parameters <c>weight</c> [O, C/groups, k, k] and <c>bias</c> [O].
/// </summary>
public sealed class Conv2d : Module
{
    private readonly bool grouped;

    /// <param name="same">TensorFlow's SAME padding, from the size of each input, in place of <paramref name="padding"/>.</param>
    public Conv2d(
        int inputs, int outputs, int kernel, ref Rng rng,
        int stride = 1, Padding padding = default, int dilation = 1, int groups = 1, bool bias = true, bool same = false)
    {
        if (groups < 1 || inputs % groups != 0 || outputs % groups != 0)
            throw new ArgumentException($"Conv2d: {inputs} inputs and {outputs} outputs do not divide into {groups} groups");
        (Stride, Padding, Dilation, Same) = (stride, padding, dilation, same);
        grouped = groups > 1;
        Weight = Parameter("weight", new Shape(outputs, inputs / groups, kernel, kernel));
        Bias = bias ? Parameter("bias", new Shape(outputs)) : null;
        Init.DefaultLinear(Weight, Bias, ref rng);
    }

    public Tensor Weight { get; }

    public Tensor? Bias { get; }

    public int Stride { get; }

    public Padding Padding { get; }

    public int Dilation { get; }

    public bool Same { get; }

    public Tensor Forward(Tensor x)
    {
        Padding padding = Same && x.Rank == 4
            ? Padding.Same(x.Shape[2], x.Shape[3], Weight.Shape[2], Weight.Shape[3], Stride, Dilation)
            : Padding;
        // Not the number that it was made with: pruning may have removed whole groups.
        int groups = grouped && x.Rank == 4 ? x.Shape[1] / Weight.Shape[1] : 1;
        return F.Conv2d(x, Weight, Bias, Stride, padding, Dilation, groups);
    }
}
