using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.SoftFilter;

/// <summary>
/// Lets the last convolution of each residual block lose filters of its own while the stream stays whole: the sum goes by a list
/// of channels from then on (section 4 of the paper's rules for residual networks).
/// </summary>
internal static class NarrowBranches
{
    /// <summary>For all blocks with a shortcut that have no such list yet.</summary>
    /// <param name="image">Any input of the network.</param>
    public static void Allow(ImageClassifier net, Tensor image)
    {
        ResidualBlock[] blocks = [.. net.Descendants<ResidualBlock>().Where(b => b is { Scatter: null, Gate: null })];
        if (blocks.Length == 0) return;
        var probe = new WidthProbe();
        bool training = net.Training;
        try
        {
            net.Training = false;
            foreach (ResidualBlock block in blocks) block.Gate = probe;
            using var scope = new Scope();
            net.Forward(image);
        }
        finally
        {
            foreach (ResidualBlock block in blocks) block.Gate = null;
            net.Training = training;
        }
        foreach (var (block, width) in probe.Widths) block.AddScatter(width);
    }

    /// <summary>Sees how wide each block's stream is.</summary>
    private sealed class WidthProbe : IResidualGate
    {
        public Dictionary<ResidualBlock, int> Widths { get; } = [];

        public Tensor Join(ResidualBlock block, Tensor x)
        {
            Tensor sum = block.Sum(block.Branch(x), block.Shortcut(x));
            Widths[block] = sum.Shape[1];
            return sum;
        }
    }
}
