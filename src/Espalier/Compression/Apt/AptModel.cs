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
    private Graph[]? parts;

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
            agents[i] = Child(AgentName(i), new AptAgent(vit.Config.HiddenSize, ref rng, keepBias));
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

    private static string AgentName(int agent) => $"transformer.encoder.clip_layer.{agent}";

    /// <summary>Dropout rate of the transformer while training.</summary>
    public float DropoutRate
    {
        set
        {
            Vit.DropoutRate = value;
            parts = null;
        }
    }

    /// <summary>One pass in which every agent acts. images [B, C, S, S] -> logits [B, classes].</summary>
    public AptOutput Forward(Tensor images)
    {
        Tensor x = Part(0, images);
        var steps = new List<RowSet> { x.Rows! };
        var inputs = new Tensor[agents.Length];
        for (int i = 0; i < agents.Length; i++)
        {
            inputs[i] = x;
            x = Part(i + 1, Act(i, x, steps));
        }
        return new AptOutput(x, steps, inputs);
    }

    /// <summary>One pass in which no agent acts.</summary>
    internal AptPlainOutput ForwardPlain(Tensor images)
    {
        Tensor x = Part(0, images);
        var inputs = new Tensor[agents.Length];
        for (int i = 0; i < agents.Length; i++) x = Part(i + 1, inputs[i] = x);
        return new AptPlainOutput(x, inputs);
    }

    /// <summary>
    /// <see cref="Forward"/> and <see cref="ForwardPlain"/> at once: up to the first token that is dropped they are the same and
    /// done once. Not for passes with dropout: each is to have noise of its own.
    /// </summary>
    /// <param name="recordPlain">Whether the rest of the plain pass is recorded, too.</param>
    internal (AptOutput Pruned, AptPlainOutput Plain) ForwardBoth(Tensor images, bool recordPlain)
    {
        Tensor x = Part(0, images), all = x;
        var steps = new List<RowSet> { x.Rows! };
        Tensor[] inputs = new Tensor[agents.Length], plainInputs = new Tensor[agents.Length];
        for (int i = 0; i < agents.Length; i++)
        {
            (inputs[i], plainInputs[i]) = (x, all);
            bool same = all == x;
            x = Act(i, x, steps);
            same &= all == x;
            x = Part(i + 1, x);
            all = same ? x : Plain(i + 1, all);
        }
        return (new AptOutput(x, steps, inputs), new AptPlainOutput(all, plainInputs));

        Tensor Plain(int part, Tensor rows)
        {
            if (recordPlain) return Part(part, rows);
            using (Recording.Pause()) return Part(part, rows);
        }
    }

    /// <summary>
    /// The transformer without agents from one of them to the next: part 0 makes of images what the first agent sees, part i of
    /// the rows that agent i - 1 left what agent i sees, the last one the logits.
    /// </summary>
    internal Tensor Part(int index, Tensor x)
    {
        parts ??= Cut();
        return parts[index].Prepared(Training).Run(x, new RunContext(Training));
    }

    /// <summary>The transformer with its agents, which drop rows after their blocks by the threshold that there is now.</summary>
    public Graph Trace()
    {
        Graph graph = Vit.Trace();
        for (int i = 0; i < agents.Length; i++)
        {
            string name = AgentName(i);
            AptAgent agent = agents[i];
            graph.InsertAfter(graph[VisionTransformer.BlockName(Layers[i])], x =>
            {
                Tensor kept = F.KeepRows(x, agent.Score(x), KeepRule.AtLeast(-Threshold), Vit.Config.PrefixTokens);
                kept.Name = name;
                return kept;
            }, agent.StateDict().Select(p => ($"{name}.{p.Name}", p.Value)));
        }
        return graph;
    }

    private Graph[] Cut()
    {
        Graph graph = Vit.Trace();
        GraphValue[] stops = [.. graph.Inputs, .. Layers.Select(l => graph[VisionTransformer.BlockName(l)]), .. graph.Outputs];
        return [.. stops.Zip(stops.Skip(1), (from, to) => graph.Between([from], [to]))];
    }

    private Tensor Act(int agent, Tensor x, List<RowSet> steps)
    {
        Tensor y;
        using (Tensor score = agents[agent].ScoreOnly(x))
            y = F.KeepRows(x, score, KeepRule.AtLeast(-Threshold), Vit.Config.PrefixTokens);
        steps.Add(y.Rows!);
        return y.Shape[0] < x.Shape[0] ? y : x;
    }

    /// <summary>Multiply-adds of a pruned pass over one image, agents included; tokens as in <see cref="AptOutput.TokensOf"/>.</summary>
    public long MultiplyAdds(ReadOnlySpan<int> tokens) => VitCost.Pruned(Vit.Config, Layers, tokens);
}
