using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.SPVit;

/// <summary>
/// SPViT (He et al., TPAMI 2024, arXiv 2111.11802): each block of a vision transformer learns by gates whether attention stays,
/// becomes a 3 x 3 or 1 x 1 convolution, or goes, and which hidden units stay. The convolutions are made of attention's own
/// weights, so that the search trains one network.
/// </summary>
public sealed record SPVit : CompressionMethod
{
    private static readonly MethodSettings<SPVit> Known = new()
    {
        { "lambda", m => m.Lambda, (m, x) => m with { Lambda = x }, 0.0, double.PositiveInfinity,
            "weight of the squared difference between the share of the cost that is left and the target" },
        { "rate", m => m.Rate, (m, x) => m with { Rate = x }, 0.0, double.PositiveInfinity, "learning rate of the gates" },
        { "initial", m => m.Initial, (m, x) => m with { Initial = x }, -10.0, 20.0,
            "what gates begin with: they are open with probability sigmoid of it" },
        { "temperature", m => m.Temperature, (m, x) => m with { Temperature = x }, 1e-4, double.PositiveInfinity,
            "of the softmax by which taps of a kernel are mixed of heads" },
        { "add-norm", m => m.AddNorm, (m, x) => m with { AddNorm = x },
            "yes: without attention the class token, and all tokens where nothing is, get their norm added, as published" },
        { "restart", m => m.Restart, (m, x) => m with { Restart = x },
            "yes: fine-tuning begins with the weights before the search, as published; no: it goes on" },
    };

    /// <inheritdoc/>
    public override string Name => "spvit";

    /// <inheritdoc/>
    public override string Purpose =>
        "searches where a vision transformer's attention can be a convolution, and which hidden units stay";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool TrainsFirst => true;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses => [CompressionOrder.FewBits];

    /// <inheritdoc/>
    public override NetworkTraits Leaves => NetworkTraits.ConvolvesTokens;

    /// <summary>Weight of (target - share)²: the published one times the square of the network's giga-multiply-adds.</summary>
    public double Lambda { get; init; } = 30;

    /// <summary>Learning rate of the gates, of Adam.</summary>
    public double Rate { get; init; } = 0.001;

    /// <summary>What gates begin with.</summary>
    public double Initial { get; init; } = 1.5;

    /// <summary>Alpha: the smaller, the nearer is a tap to one head.</summary>
    public double Temperature { get; init; } = 0.01;

    /// <summary>Whether the class token in a block with a convolution, and all tokens in a block without anything, get their norm
    /// added.</summary>
    public bool AddNorm { get; init; }

    /// <summary>Whether fine-tuning begins with the weights from before the search.</summary>
    public bool Restart { get; init; }

    private protected override string ByGradients => "spvit learns its gates";

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        Graph graph = job.Model.Graph;
        SelectionOptions selection = Allowed();
        long parameters = job.Model.ParameterCount, work = graph.CostPerImage.MultiplyAdds;
        SearchedBlock[] blocks = Blocks(graph, selection);
        GateSearch search = Search(blocks, selection, work);
        Dictionary<Tensor, float[]> before = Restart
            ? graph.Weights.Values.ToDictionary(w => w.Tensor, w => w.Tensor.ToArray()) : [];
        foreach (SearchedBlock block in blocks) block.Insert();
        job.Train("search", TrainSteps, search);

        search.Evaluate();
        job.Log(FormattableString.Invariant($"the search ended with {search.Share:0.0%} of what the network costs"));
        search.MeetTarget();
        foreach (var (weight, values) in before) values.CopyTo(weight.Span);
        foreach (SearchedBlock block in Restart ? blocks : []) block.Restart();
        job.Log("attention's places: " + string.Join(' ', blocks.Select(b => Places[b.Operation])) + "; hidden units: "
            + string.Join(' ', blocks.Select(b => $"{b.OpenUnits}/{b.UnitCount}")));
        float difference = Convert(job, blocks);
        // Closed units are read by nobody, as in the search: what is fitted or moved when they go must not see what they were before.
        Gate.Fold(graph, blocks.Select(b => b.Hidden).OfType<Gate>());
        int gone = blocks.Count(b => b.Operation != SearchedBlock.Attention);
        if (gone > 0)
        {
            var summary = PlanSummary.OfSizes(parameters, work, job.Model);
            job.Removed($"the attention of {gone} blocks", new RemovalReport(summary, difference, []));
        }
        if (!Narrow(job, blocks) && gone == 0) throw new EspalierException("nothing would be removed; ask for less");
        job.Train("fine-tune", FineTuneSteps);
    }

    private static readonly string[] Places = ["nothing", "1x1", "3x3", "attention"];

    private SelectionOptions Allowed()
    {
        SelectionOptions selection = Selection.Checked();
        string? wrong = TrainSteps == 0 ? "TrainSteps is 0: spvit learns in training what it removes"
            : Restart && FineTuneSteps == 0 ? "FineTuneSteps is 0: with Restart all that was learnt is learnt in fine-tuning"
            : Rounds > 1 ? $"Rounds is {Rounds}: spvit has one search; leave it at 1"
            : selection.Ratio is null && selection.TargetFlops is null ? "spvit takes TargetFlops or one Ratio"
            : selection.Ratio is { OfAll: null } ? "spvit has one Ratio for the whole network"
            : selection.Isomorphic || selection.UnequalHeads || selection.RoundTo > 1
                ? "spvit learns each unit's gate: leave Isomorphic, UnequalHeads and RoundTo out" : null;
        return wrong is null ? selection : throw new EspalierException(wrong);
    }

    /// <summary>The blocks that are searched; nothing is put in yet.</summary>
    /// <exception cref="EspalierException">The network is no vision transformer that could be searched.</exception>
    internal SearchedBlock[] Blocks(Graph graph, SelectionOptions selection)
    {
        TransformerBlocks network = TransformerBlocks.Of(graph);
        int patches = network.Tokens - network.PrefixTokens;
        selection.RequireKept([.. network.Blocks.Select(SearchedBlock.LayersOf).SelectMany(l => new[] { l.Attention, l.Mlp })]);
        SearchedBlock[] blocks = [.. network.Blocks.Select(b =>
        {
            var (attention, mlp) = SearchedBlock.LayersOf(b);
            return new SearchedBlock(graph, b, network.PrefixTokens, Grid(graph, patches), this, !selection.Keeps(attention),
                !selection.Keeps(mlp));
        })];
        if (blocks.All(b => b.Operations is null && b.Units is null))
            throw new EspalierException("Keep leaves nothing of the transformer to search");
        foreach (SearchedBlock block in blocks) block.Check();
        return blocks;
    }

    /// <summary>By the patches that images are cut into; else a square.</summary>
    private static (int Height, int Width) Grid(Graph graph, int patches)
    {
        foreach (GraphNode node in graph.Nodes.Where(n => n.Op is PatchesToRowsOp))
        {
            Shape x = node.Operands[0]!.Shape;
            int patch = node.Op.Settings.Int("patch"), height = x[2] / patch, width = x[3] / patch;
            if (height * width == patches) return (height, width);
        }
        int side = (int)Math.Round(Math.Sqrt(patches));
        return side > 0 && side * side == patches ? (side, side)
            : throw new EspalierException($"spvit: the network's {patches} tokens are no grid that convolutions could work on");
    }

    /// <summary>By multiply-adds of all, or by weights of the blocks where a ratio says how much goes.</summary>
    /// <exception cref="EspalierException">The target cannot be reached.</exception>
    internal GateSearch Search(SearchedBlock[] blocks, SelectionOptions selection, long work,
        Func<StepContext, Func<double>>? uniform = null)
    {
        double target = selection.ShareLeft;
        BlockCost[] costs = [.. blocks.Select(b => selection.Ratio is null ? b.MultiplyAdds() : b.Weights())];
        double rest = selection.Ratio is null
            ? work - blocks.Select((b, i) => costs[i].Of(SearchedBlock.Attention, b.UnitCount)).Sum() : 0;
        var search = new GateSearch(blocks, costs, rest, this, target, uniform);
        return search.Least <= target ? search : throw new EspalierException(FormattableString.Invariant(
            $"spvit cannot leave {target:0.###} of the network: with the least for attention and one hidden unit a block it is ")
            + FormattableString.Invariant($"{search.Least:0.###}"));
    }

    /// <summary>Ends the search's branches: what is left is compared with what the open gates gave.</summary>
    internal static float Convert(CompressionJob job, SearchedBlock[] blocks)
    {
        Graph graph = job.Model.Graph;
        using var scope = new Scope();
        using var edit = new GraphEdit(graph);
        foreach (SearchedBlock block in blocks) block.AddNorm(edit);
        graph.Refresh();
        Tensor images = job.Example(4);
        float[] expected = graph.Run(images).ToArray();
        foreach (SearchedBlock block in blocks) block.Become(edit);
        return edit.Commit(images, expected);
    }

    /// <returns>Whether there was something to remove.</returns>
    private static bool Narrow(CompressionJob job, SearchedBlock[] blocks)
    {
        using DependencyGraph groups = job.Graph(HeadView.Heads);
        var plan = new RemovalPlan();
        foreach (SearchedBlock block in blocks.Where(b => b.OpenUnits < b.UnitCount))
        {
            ChannelGroup group = groups.Made(block.FirstWeight, block.UnitCount)
                ?? throw new EspalierException("hidden units of a block cannot go on their own: leave its MLP alone with Keep");
            plan.Add(group, Enumerable.Range(0, block.UnitCount).Where(k => block.Units!.Hard[k] == 0));
        }
        if (plan.Count == 0) return false;
        job.Remove(groups, plan);
        return true;
    }
}
