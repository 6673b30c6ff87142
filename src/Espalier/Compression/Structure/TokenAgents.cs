using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>Puts agents that drop tokens into vision transformers, and takes them out again.</summary>
public static class TokenAgents
{
    /// <summary>New agents, copies of one another, with a threshold of 0.5. The model owns their weights.</summary>
    /// <param name="layers">Blocks (0-based, rising) that they act after; null for the model's preset's, else 2, 5 and 8 of 12, and
    /// the same parts (1/4, 1/2, 3/4) of other depths.</param>
    /// <param name="keepBias">See <see cref="TokenAgent.Create"/>.</param>
    /// <exception cref="EspalierException">The model is no transformer of such blocks, has agents already, or no such layers.
    /// </exception>
    public static void Add(Model model, IReadOnlyList<int>? layers = null, ulong seed = 42, float keepBias = 0)
    {
        if (TokenAgent.Find(model.Graph).Count > 0) throw new EspalierException($"{model.Description}: has agents already");
        TransformerBlocks all = TransformerBlocks.Of(model.Graph);
        if (all.PrefixTokens == 0)
            throw new EspalierException($"{model.Description}: has no class token, by which agents decide; use tome, which needs none");
        CompressionOrder.Check("agents", [CompressionOrder.Grid], model.Graph);
        int blocks = all.Blocks.Count;
        layers ??= Preset(model, blocks) ?? VitConfig.UsualPruneLayers(blocks);
        bool rises = layers.Count > 0 && layers[0] >= 0 && layers[^1] < blocks && layers.Zip(layers.Skip(1)).All(p => p.First < p.Second);
        if (!rises)
            throw new EspalierException($"the layers of agents must rise from 0 to at most {blocks - 1}, with at least one of them, "
                + $"not [{string.Join(",", layers)}]");
        for (int i = 0; i < layers.Count; i++)
        {
            GraphValue after = all.Blocks[layers[i]].Output;
            var rng = new Rng(seed, key0: 2);
            TokenAgent.Create(after.Shape[1], ref rng, keepBias)
                .InsertInto(model.Graph, after, i, KeepRule.AtLeast(-0.5f), all.PrefixTokens);
        }
    }

    private static int[]? Preset(Model model, int blocks) => model.Card.Architecture is { } name && VitPresets.Names.Contains(name)
        && VitPresets.Get(name) is var preset && preset.NumLayers == blocks ? preset.PruneLayers : null;

    /// <summary>Takes all agents out of a network: every token stays.</summary>
    /// <returns>Their weights, which are the caller's.</returns>
    public static List<Tensor> Remove(Graph graph)
    {
        foreach (var (_, keep) in TokenAgent.Find(graph)) graph.Remove(keep);
        return graph.DropUnreadWeights();
    }
}
