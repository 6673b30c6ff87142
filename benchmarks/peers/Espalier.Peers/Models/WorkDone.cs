using Espalier.Compression.Apt;
using Espalier.Models;

namespace Espalier.Peers;

/// <summary>Multiply-adds that a session really does for one image. The literature's count has all of the last block, of which a
/// session computes only what the class token needs: keys and values of every token, all else of one.</summary>
internal static class WorkDone
{
    public static long Dense(VitConfig c) => Pruned(c, [], [c.Tokens]);

    /// <param name="tokens">Those that enter block 0, then those left after each agent.</param>
    public static long Pruned(VitConfig c, IReadOnlyList<int> agentLayers, int[] tokens)
    {
        int last = tokens[^1];
        return VitCost.Pruned(c, agentLayers, tokens) - VitCost.Block(c, last) + LastBlock(c, last);
    }

    /// <summary>Of a step of plain training, which leaves out the same: a forward pass and twice as much backward, except that
    /// nobody wants the gradient of the images.</summary>
    public static long TrainingStep(VitConfig c) => 3 * Dense(c) - VitCost.Embedding(c);

    /// <summary>Of the agents alone.</summary>
    public static long Agents(VitConfig c, int[] tokens) =>
        tokens[..^1].Sum(n => AptAgent.MultiplyAdds(c.HiddenSize, n));

    private static long LastBlock(VitConfig c, int tokens)
    {
        long n = tokens, d = c.HiddenSize;
        return 2 * n * d * d + 2 * d * d + 2 * n * d + 2 * d * c.MlpDim;
    }
}
