using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>The largest value under a window. x [N, C, H, W] -> [N, C, OH, OW].</summary>
/// <param name="stride">0 stands for <paramref name="kernel"/>.</param>
/// <param name="same">TensorFlow's SAME padding, from the size of each input, in place of <paramref name="padding"/>.</param>
public sealed class MaxPool2d(int kernel, int stride = 0, Padding padding = default, bool same = false) : Module
{
    private readonly int step = stride == 0 ? kernel : stride;

    public Tensor Forward(Tensor x)
    {
        Padding sides = same && x.Rank == 4 ? Padding.Same(x.Shape[2], x.Shape[3], kernel, kernel, step) : padding;
        return F.MaxPool2d(x, kernel, step, sides);
    }
}
