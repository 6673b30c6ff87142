using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>
/// A residual sum whose branch may lose channels that the stream keeps. x [N, C, ..], branch [N, K, ..] -> [N, C, ..]. Buffers
/// <c>index</c> [K], at first all channels, and <c>shift</c> [C], at first 0: the constants that lost channels emit (Soft Filter
/// Pruning, arXiv 1808.06866).
/// </summary>
public sealed class ChannelAdd : Module
{
    public ChannelAdd(int channels)
    {
        Index = Buffer("index", new Shape(channels));
        Shift = Buffer("shift", new Shape(channels));
        ChannelList.Fill(Index);
    }

    /// <summary>The stream's channel that each channel of the branch is added to, all different.</summary>
    public Tensor Index { get; }

    public Tensor Shift { get; }

    public Tensor Forward(Tensor x, Tensor branch) => F.IndexAdd(x, Shift, Index, branch);
}
