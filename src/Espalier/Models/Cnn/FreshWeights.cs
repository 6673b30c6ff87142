using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// Random weights for a network whose shape pruning has found: the baseline that a pruned network is held against is the same
/// shape trained from scratch (Liu et al., arXiv 1810.05270).
/// </summary>
public static class FreshWeights
{
    /// <summary>
    /// Draws every convolution by He's rule (fan out) and every linear layer as PyTorch does, and sets norms back to scale 1,
    /// shift 0 and fresh statistics. Shapes stay as they are.
    /// </summary>
    public static void Fill(Cnn net, ulong seed)
    {
        var rng = new Rng(seed, key0: 1);
        CnnLayers.InitConvolutions(net, ref rng);
        foreach (Linear linear in net.Descendants<Linear>()) Init.DefaultLinear(linear.Weight, linear.Bias, ref rng);
        foreach (BatchNorm2d norm in net.Descendants<BatchNorm2d>())
        {
            norm.Weight.Fill(1);
            norm.Bias.Fill(0);
            norm.RunningMean.Fill(0);
            norm.RunningVariance.Fill(1);
        }
    }
}
