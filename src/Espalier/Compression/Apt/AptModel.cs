using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Compression.Apt;

/// <summary>
/// The automatic pruning transformer: a vision transformer with an agent after each of a few blocks. In a pruned pass every
/// agent looks at every token of every image and the tokens it finds worthless are removed from the packed batch; later
/// blocks never see them. The class token (and DeiT's distillation token) always stays.
/// </summary>
public sealed class AptModel : Module
{
    private readonly AptAgent[] agents;

    /// <param name="layers">Blocks (0-based, rising) after which an agent acts; null for the configuration's own.</param>
    /// <param name="keepBias">See <see cref="AptAgent"/>.</param>
    public AptModel(VisionTransformer vit, int[]? layers = null, ulong seed = 42, float keepBias = 0)
    {
        layers ??= vit.Config.PruneLayers ?? vit.Config.DefaultPruneLayers();
        if (layers.Length == 0)
            throw new EspalierException("APT needs at least one pruning layer: give pruneLayers in the configuration");
        (vit.Config with { PruneLayers = layers }).Checked("APT");
        Layers = layers;
        Vit = Child("", vit);
        agents = new AptAgent[Layers.Count];
        for (int i = 0; i < agents.Length; i++)
        {
            var rng = new Rng(seed, key0: 2);   // the agents start as copies of one another
            agents[i] = Child($"transformer.encoder.clip_layer.{i}", new AptAgent(vit.Config.HiddenSize, ref rng, keepBias));
        }
    }

    public VisionTransformer Vit { get; }

    /// <summary>Blocks (0-based) after which an agent acts.</summary>
    public IReadOnlyList<int> Layers { get; }

    /// <summary>A token is dropped where p(prune) is greater than this.</summary>
    /// <exception cref="EspalierException">The value is no number, and would keep every token in silence.</exception>
    public float Threshold
    {
        get;
        set => field = float.IsNaN(value) ? throw new EspalierException("the pruning threshold is not a number") : value;
    } = 0.5f;

    public IReadOnlyList<AptAgent> Agents => agents;

    /// <summary>The index of the agent after this block, or -1.</summary>
    public int AgentAfter(int block)
    {
        for (int i = 0; i < Layers.Count; i++) if (Layers[i] == block) return i;
        return -1;
    }

    /// <summary>One pass in which every agent acts. images [B, C, S, S] -> logits [B, classes].</summary>
    public AptOutput Forward(Tensor images)
    {
        TokenRows x = Vit.Embed(images);
        var steps = new List<PruneStep> { PruneStep.All(x.Offsets) };
        var inputs = new TokenRows[agents.Length];
        for (int i = 0; i < Vit.Config.NumLayers; i++)
        {
            x = Vit.Block(i, x);
            int agent = AgentAfter(i);
            if (agent < 0) continue;
            inputs[agent] = x;
            PruneStep step = steps[^1].Prune(agents[agent].PruneProbabilities(x), Threshold, Vit.Config.PrefixTokens);
            if (step.Offsets.Rows < x.Offsets.Rows) x = new TokenRows(F.GatherRows(x.Rows, step.Rows), step.Offsets);
            steps.Add(step);
        }
        return new AptOutput(Vit.Classify(x), steps, inputs);
    }

    /// <summary>Multiply-adds of a pruned pass over one image, agents included; tokens as in <see cref="AptOutput.TokensOf"/>.</summary>
    public long MultiplyAdds(ReadOnlySpan<int> tokens) => VitCost.Pruned(Vit.Config, Layers, tokens);
}
