using Espalier.Compression;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Nn;

namespace Espalier.Peers;

/// <summary>Multiply-adds that a session really does for one image. The literature's count has all of the last block, of which a
/// session computes only what the class token needs: keys and values of every token, all else of one.</summary>
internal static class WorkDone
{
    public static long Dense(VitConfig c) => Costs(c, agents: false).Dense;

    /// <summary>With the agents that the configuration has.</summary>
    /// <param name="tokens">Those that enter block 0, then those left after each agent.</param>
    public static long Pruned(VitConfig c, int[] tokens) => Costs(c, agents: true).Of(tokens);

    /// <summary>Of a step of plain training, which leaves out the same: a forward pass and twice as much backward, except that
    /// nobody wants the gradient of the images.</summary>
    public static long TrainingStep(VitConfig c) =>
        3 * Dense(c) - (long)c.Grid * c.Grid * c.PatchChannels * c.PatchSize * c.PatchSize * c.HiddenSize;

    /// <summary>Of the agents alone.</summary>
    public static long Agents(VitConfig c, int[] tokens) =>
        tokens[..^1].Sum(n => 2L * c.HiddenSize * c.HiddenSize + (long)n * c.HiddenSize);

    private static RowCosts Costs(VitConfig c, bool agents)
    {
        using InitSkip _ = Init.ShapesOnly();
        using Model model = Model.FromModule(new VisionTransformer(c));
        if (agents) TokenAgents.Add(model, c.PruneLayers);
        return new RowCosts(model.Graph.Prepared(training: false));
    }
}
