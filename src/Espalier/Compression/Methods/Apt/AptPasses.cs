using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.Apt;

/// <summary>
/// A transformer with agents in the passes that training needs: pruned, unpruned, and from any of its agents on. In a pruned pass
/// every agent looks at every token of every image and the tokens it finds worthless are removed from the packed batch; later
/// blocks never see them. The class token (and DeiT's distillation token) always stays.
/// </summary>
internal sealed class AptPasses
{
    private readonly Graph graph;
    private readonly GraphNode[] places;
    private readonly RowCosts costs;
    private (int Version, Graph[] Parts)? cut;

    /// <exception cref="EspalierException">The network has no agents.</exception>
    public AptPasses(Graph graph)
    {
        this.graph = graph;
        var found = TokenAgent.Find(graph);
        if (found.Count == 0)
            throw new EspalierException("the network has no agents that could learn; put some in with TokenAgents.Add");
        (Agents, places) = ([.. found.Select(f => f.Agent)], [.. found.Select(f => f.Keep)]);
        costs = new RowCosts(graph);
        if (((KeepRowsOp)places[0].Op).Rule is { By: KeepBy.Limit } rule) Threshold = -rule.Limit;
    }

    public IReadOnlyList<TokenAgent> Agents { get; }

    /// <summary>Tokens of each image that always stay.</summary>
    public int PrefixTokens => ((KeepRowsOp)places[0].Op).Prefix;

    /// <summary>A token is dropped where p(prune) is greater than this.</summary>
    public float Threshold { get; set; } = 0.5f;

    /// <summary>Multiply-adds of one image of which nothing is dropped.</summary>
    public double Dense => costs.Dense;

    /// <summary>Multiply-adds of a pruned pass over one image, agents included; tokens as in <see cref="AptOutput.TokensOf"/>.
    /// </summary>
    public long MultiplyAdds(ReadOnlySpan<int> tokens) => costs.Of(tokens);

    /// <summary>One pass in which every agent acts. images [B, C, S, S] -> logits [B, classes].</summary>
    public AptOutput Pruned(Tensor images, RunContext run = default)
    {
        Tensor x = Part(0, images, run);
        var steps = new List<RowSet> { x.Rows! };
        var inputs = new Tensor[Agents.Count];
        for (int i = 0; i < inputs.Length; i++)
        {
            inputs[i] = x;
            x = Part(i + 1, Act(i, x, steps), run);
        }
        return new AptOutput(x, steps, inputs);
    }

    /// <summary>One pass in which no agent acts.</summary>
    public AptPlainOutput Plain(Tensor images, RunContext run = default)
    {
        Tensor x = Part(0, images, run);
        var inputs = new Tensor[Agents.Count];
        for (int i = 0; i < inputs.Length; i++) x = Part(i + 1, inputs[i] = x, run);
        return new AptPlainOutput(x, inputs);
    }

    /// <summary>
    /// <see cref="Pruned"/> and <see cref="Plain"/> at once: up to the first token that is dropped they are the same and done once.
    /// Not for passes with dropout: each is to have noise of its own.
    /// </summary>
    /// <param name="recordPlain">Whether the rest of the plain pass is recorded, too.</param>
    public (AptOutput Pruned, AptPlainOutput Plain) Both(Tensor images, RunContext run, bool recordPlain)
    {
        Tensor x = Part(0, images, run), all = x;
        var steps = new List<RowSet> { x.Rows! };
        Tensor[] inputs = new Tensor[Agents.Count], plainInputs = new Tensor[Agents.Count];
        for (int i = 0; i < inputs.Length; i++)
        {
            (inputs[i], plainInputs[i]) = (x, all);
            bool same = all == x;
            x = Act(i, x, steps);
            same &= all == x;
            x = Part(i + 1, x, run);
            all = same ? x : Rest(i + 1, all);
        }
        return (new AptOutput(x, steps, inputs), new AptPlainOutput(all, plainInputs));

        Tensor Rest(int part, Tensor rows)
        {
            if (recordPlain) return Part(part, rows, run);
            using (Recording.Pause()) return Part(part, rows, run);
        }
    }

    /// <summary>
    /// The transformer without agents from one of them to the next: part 0 makes of images what the first agent sees, part i of
    /// the rows that agent i - 1 left what agent i sees, the last one the logits.
    /// </summary>
    public Tensor Part(int index, Tensor x, RunContext run)
    {
        if (cut is not { } known || known.Version != graph.Version) cut = known = (graph.Version, Cut());
        return known.Parts[index].Prepared(run.Training).Run(x, run with { GoesOn = index < Agents.Count });
    }

    private Graph[] Cut()
    {
        GraphValue[] from = [graph.Inputs[0], .. places.Select(p => p.Output)];
        GraphValue[] to = [.. places.Select(p => p.Operands[0]!), graph.Outputs[0]];
        return [.. from.Zip(to, (a, b) => graph.Between([a], [b]))];
    }

    private Tensor Act(int agent, Tensor x, List<RowSet> steps)
    {
        Tensor y;
        using (Tensor score = Agents[agent].ScoreOnly(x)) y = F.KeepRows(x, score, KeepRule.AtLeast(-Threshold), PrefixTokens);
        steps.Add(y.Rows!);
        return y.Shape[0] < x.Shape[0] ? y : x;
    }
}

/// <summary>What a pruned pass gives.</summary>
/// <param name="Logits">[B, classes].</param>
/// <param name="Steps">The tokens that enter block 0, then those left after each agent.</param>
/// <param name="AgentInputs">What each agent saw, before it acted: token rows [rows, D].</param>
internal sealed record AptOutput(Tensor Logits, IReadOnlyList<RowSet> Steps, IReadOnlyList<Tensor> AgentInputs)
{
    /// <summary>Tokens of one image: those that enter block 0, then those left after each agent.</summary>
    public int[] TokensOf(int image) => [.. Steps.Select(s => s.Length(image))];

    /// <summary>Which tokens those are: 0 the class token, then the patches row by row.</summary>
    public int[][] KeptOf(int image) => [.. Steps.Select(s => s.Tokens[s[image]..s[image + 1]].ToArray())];
}

/// <summary>What an unpruned pass gives.</summary>
/// <param name="Logits">[B, classes].</param>
/// <param name="AgentInputs">What each agent would see.</param>
internal sealed record AptPlainOutput(Tensor Logits, IReadOnlyList<Tensor> AgentInputs);
