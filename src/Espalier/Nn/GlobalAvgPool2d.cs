using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>The mean of each plane. x [N, C, H, W] -> [N, C].</summary>
public sealed class GlobalAvgPool2d : Module
{
    public Tensor Forward(Tensor x) => F.GlobalAvgPool2d(x);
}
