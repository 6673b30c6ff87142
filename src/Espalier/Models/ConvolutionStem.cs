using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// Small convolutions in front of a vision transformer, which then learns from fewer images and in fewer steps: "Early convolutions
/// help transformers see better" (Xiao et al., arXiv 2106.14881), for small images: one convolution that keeps the size and two that
/// halve it, each with batch norm and ReLU, of a quarter, half and all of the width. The patch projection is the paper's last, 1 x 1
/// convolution. x [N, C, S, S] -> [N, D, S/4, S/4].
/// </summary>
public sealed class ConvolutionStem : Module
{
    /// <summary>Pixels that a value of the map stands for, along each axis.</summary>
    public const int Stride = 4;

    private readonly Sequential layers = new();

    /// <param name="width">D; a multiple of 4.</param>
    public ConvolutionStem(int channels, int width, ref Rng rng)
    {
        foreach (var (outputs, stride) in new[] { (width / 4, 1), (width / 2, 2), (width, 2) })
        {
            layers.Layer(channels, outputs, 3, ref rng, F.Relu, stride);
            channels = outputs;
        }
        Child("layers", layers);
    }

    public Tensor Forward(Tensor x) => layers.Forward(x);
}
