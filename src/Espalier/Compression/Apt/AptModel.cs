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
            x = Block(i, x);
            int agent = AgentAfter(i);
            if (agent < 0) continue;
            inputs[agent] = x;
            x = Act(agent, x, steps);
        }
        return new AptOutput(Vit.Classify(x), steps, inputs);
    }

    /// <summary>One pass in which no agent acts.</summary>
    internal AptPlainOutput ForwardPlain(Tensor images)
    {
        var inputs = new TokenRows[agents.Length];
        TokenRows x = Vit.Embed(images);
        for (int i = 0; i < Vit.Config.NumLayers; i++)
        {
            x = Block(i, x);
            if (AgentAfter(i) is >= 0 and int agent) inputs[agent] = x;
        }
        return new AptPlainOutput(Vit.Classify(x), inputs);
    }

    /// <summary>
    /// <see cref="Forward"/> and <see cref="ForwardPlain"/> at once: up to the first token that is dropped they are the same and
    /// done once. Not for passes with dropout: each is to have noise of its own.
    /// </summary>
    /// <param name="recordPlain">Whether the rest of the plain pass is recorded, too.</param>
    internal (AptOutput Pruned, AptPlainOutput Plain) ForwardBoth(Tensor images, bool recordPlain)
    {
        TokenRows x = Vit.Embed(images), all = x;
        var steps = new List<PruneStep> { PruneStep.All(x.Offsets) };
        TokenRows[] inputs = new TokenRows[agents.Length], plainInputs = new TokenRows[agents.Length];
        for (int i = 0; i < Vit.Config.NumLayers; i++)
        {
            bool same = all == x;
            x = Block(i, x);
            all = same ? x : Plain(() => Block(i, all));
            int agent = AgentAfter(i);
            if (agent < 0) continue;
            (inputs[agent], plainInputs[agent]) = (x, all);
            x = Act(agent, x, steps);
        }
        Tensor logits = Vit.Classify(x);
        Tensor plainLogits = all == x ? logits : Plain(() => Vit.Classify(all));
        return (new AptOutput(logits, steps, inputs), new AptPlainOutput(plainLogits, plainInputs));

        T Plain<T>(Func<T> pass)
        {
            if (recordPlain) return pass();
            using (Recording.Pause()) return pass();
        }
    }

    /// <summary>Block <paramref name="index"/>; the last gives what the classifier reads, unless an agent comes after it.</summary>
    internal TokenRows Block(int index, TokenRows x) =>
        index == Vit.Config.NumLayers - 1 && AgentAfter(index) < 0 ? Vit.LastBlock(x) : Vit.Block(index, x);

    private TokenRows Act(int agent, TokenRows x, List<PruneStep> steps)
    {
        PruneStep step = steps[^1].Prune(agents[agent].PruneProbabilities(x), Threshold, Vit.Config.PrefixTokens);
        steps.Add(step);
        return step.Offsets.Rows < x.Offsets.Rows ? new TokenRows(F.GatherRows(x.Rows, step.Rows), step.Offsets) : x;
    }

    /// <summary>Multiply-adds of a pruned pass over one image, agents included; tokens as in <see cref="AptOutput.TokensOf"/>.</summary>
    public long MultiplyAdds(ReadOnlySpan<int> tokens) => VitCost.Pruned(Vit.Config, Layers, tokens);
}
