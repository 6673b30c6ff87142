using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>The mean under a window. x [N, C, H, W] -> [N, C, OH, OW].</summary>
/// <param name="stride">0 stands for <paramref name="kernel"/>.</param>
/// <param name="countIncludePad">Whether padding counts as zeros in the mean or is left out.</param>
public sealed class AvgPool2d(int kernel, int stride = 0, Padding padding = default, bool countIncludePad = true) : Module
{
    public Tensor Forward(Tensor x) => F.AvgPool2d(x, kernel, stride, padding, countIncludePad);
}
