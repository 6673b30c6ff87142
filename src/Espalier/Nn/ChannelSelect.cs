using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>
/// Reads some channels of a stream that others read whole: x [N, C, ..] -> [N, K, ..]. Buffer <c>index</c> [K], at first all
/// channels; pruning shortens it together with what reads the result. Behind the batch norm of a pre-activation ResNet or a
/// DenseNet (Network Slimming, arXiv 1708.06519, section 3).
/// </summary>
public sealed class ChannelSelect : Module
{
    public ChannelSelect(int channels)
    {
        Index = Buffer("index", new Shape(channels));
        ChannelList.Fill(Index);
    }

    /// <summary>Channel numbers, all different.</summary>
    public Tensor Index { get; }

    public Tensor Forward(Tensor x) => F.IndexSelect(x, Index);
}
