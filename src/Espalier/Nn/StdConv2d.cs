using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>
/// A convolution without bias whose weight is standardised at every use (Qiao et al., arXiv 1903.10520).
/// x [N, C, H, W] -> [N, O, OH, OW]; parameter <c>weight</c> [O, C, k, k].
/// </summary>
public sealed class StdConv2d : Module
{
    private readonly int stride;
    private readonly Padding padding;
    private readonly bool same;
    private readonly WeightStandardisation variant;

    /// <param name="same">TensorFlow's SAME padding, from the size of each input, in place of <paramref name="padding"/>.</param>
    public StdConv2d(
        int inputs, int outputs, int kernel, WeightStandardisation variant, ref Rng rng,
        int stride = 1, Padding padding = default, bool same = false)
    {
        (this.stride, this.padding, this.same, this.variant) = (stride, padding, same, variant);
        Weight = Parameter("weight", new Shape(outputs, inputs, kernel, kernel));
        Init.DefaultLinear(Weight, null, ref rng);
    }

    public Tensor Weight { get; }

    public Tensor Forward(Tensor x)
    {
        int kernel = Weight.Shape[2];
        Padding sides = same && x.Rank == 4 ? Padding.Same(x.Shape[2], x.Shape[3], kernel, kernel, stride) : padding;
        return F.Conv2d(x, F.WeightStandardise(Weight, variant), null, stride, sides);
    }
}
