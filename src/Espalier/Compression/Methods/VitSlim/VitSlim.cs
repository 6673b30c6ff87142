using Espalier.Tensors;

namespace Espalier.Compression.Methods.VitSlim;

/// <summary>How many entries a budget keeps.</summary>
public enum SlimRule
{
    /// <summary>All but floor((1 - budget) · n), the smallest.</summary>
    Count,

    /// <summary>Those of at least the value at place int((1 - budget) · n) in rising order, as in the published code.</summary>
    Threshold,
}

/// <summary>Which dimensions of a layer's heads have one mask.</summary>
public enum MaskShare
{
    /// <summary>Each has its own.</summary>
    None,

    /// <summary>All of a head: heads stay or go whole.</summary>
    Head,

    /// <summary>The same one of all heads, which stay alike.</summary>
    Dimension,
}

/// <summary>
/// Vision Transformer Slimming (Chavan et al., CVPR 2022, arXiv 2201.00814): soft masks on dimensions of heads, hidden units and
/// tokens of every block are learnt in one search under an L1 penalty; then any budget is cut from the same ranking.
/// </summary>
public sealed record VitSlim : CompressionMethod, ISharedSearch
{
    private static readonly MethodSettings<VitSlim> Known = new()
    {
        { "attention-weight", m => m.AttentionWeight, (m, x) => m with { AttentionWeight = x }, 0.0, double.PositiveInfinity,
            "weight of the penalty on masks of heads' dimensions; 0 leaves attention whole" },
        { "hidden-weight", m => m.HiddenWeight, (m, x) => m with { HiddenWeight = x }, 0.0, double.PositiveInfinity,
            "weight of the penalty on masks of hidden units; 0 leaves MLPs whole" },
        { "token-weight", m => m.TokenWeight, (m, x) => m with { TokenWeight = x }, 0.0, double.PositiveInfinity,
            "weight of the penalty on masks of tokens; 0 keeps all tokens" },
        { "attention", m => m.Attention, (m, x) => m with { Attention = x }, 0.0, 1.0,
            "share of heads' dimensions to keep; 0 for what the target says of all" },
        { "hidden", m => m.Hidden, (m, x) => m with { Hidden = x }, 0.0, 1.0, "the same of hidden units" },
        { "tokens", m => m.Tokens, (m, x) => m with { Tokens = x }, 0.0, 1.0, "the same of tokens, over all blocks" },
        { "shared", m => m.Shared, (m, x) => m with { Shared = x },
            "none: each dimension of each head has a mask; head: each head; dimension: the same of all heads" },
        { "rule", m => m.Rule, (m, x) => m with { Rule = x },
            "what a budget means; count: exactly so many go; threshold: the published code's threshold" },
        { "magnitude", m => m.Magnitude, (m, x) => m with { Magnitude = x },
            "yes: masks count by their size; no: by their value, as published" },
        { "fold", m => m.Fold, (m, x) => m with { Fold = x },
            "yes: what masks have learnt goes into the weights; no: masks only choose, as published" },
        { "freeze-weights", m => m.FreezeWeights, (m, x) => m with { FreezeWeights = x },
            "yes: the search trains masks and norms only" },
        { "token-start", m => m.TokenStart, (m, x) => m with { TokenStart = x }, 0.0, 10.0,
            "what tokens' masks begin with inside tanh; the paper has 3, where short searches hardly move them" },
        { "searched", m => m.Searched, 
            (m, x) => x.Length == 0 || x.EndsWith(".safetensors", StringComparison.Ordinal) ? m with { Searched = x } : null,
            "a file that keeps the search: written after it, and read in place of it where it is there",
            "the name of a file that ends with .safetensors" },
    };

    /// <inheritdoc/>
    public override string Name => "vit-slim";

    /// <inheritdoc/>
    public override string Purpose => "searches masks of a transformer's heads, hidden units and tokens once, to cut any budget";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool TrainsFirst => true;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses =>
        TokenWeight > 0 ? [CompressionOrder.Grid, CompressionOrder.FewBits] : [CompressionOrder.FewBits];

    /// <inheritdoc/>
    public override NetworkTraits Leaves => TokenWeight > 0 ? NetworkTraits.DropsTokens : NetworkTraits.None;

    /// <summary>Weight of Σ|mask| over heads' dimensions; 0 searches none.</summary>
    public double AttentionWeight { get; init; } = 1e-4;

    /// <summary>The same of hidden units.</summary>
    public double HiddenWeight { get; init; } = 1e-4;

    /// <summary>The same of tanh(mask) of tokens.</summary>
    public double TokenWeight { get; init; } = 1e-4;

    /// <summary>Share of heads' dimensions to keep; 0 for what the target says.</summary>
    public double Attention { get; init; }

    /// <summary>Share of hidden units to keep; 0 for what the target says.</summary>
    public double Hidden { get; init; }

    /// <summary>Share of tokens to keep, over all blocks, before those that a later block needs are added; 0 for what the target
    /// says.</summary>
    public double Tokens { get; init; }

    /// <summary>Which dimensions of heads have one mask.</summary>
    public MaskShare Shared { get; init; }

    public SlimRule Rule { get; init; }

    /// <summary>Whether masks count by their absolute values.</summary>
    public bool Magnitude { get; init; }

    /// <summary>Whether what attention's and hidden masks have learnt goes into the weights; else they only choose.</summary>
    public bool Fold { get; init; }

    /// <summary>Whether the search trains masks and norms only.</summary>
    public bool FreezeWeights { get; init; }

    /// <summary>What masks of tokens begin with.</summary>
    public double TokenStart { get; init; } = 3;

    /// <summary>A file that keeps the searched network with its masks, for other budgets; empty for none.</summary>
    public string Searched { get; init; } = "";

    private protected override string? ByGradients => TrainSteps > 0 ? "vit-slim learns its masks" : null;

    /// <inheritdoc/>
    public CompressionMethod SearchedIn(string file) => this with { Searched = file };

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        Selection.Checked();
        if (Rounds != 1) throw new EspalierException("vit-slim searches once and cuts once; Rounds is 1");
        if (Selection.Ratio?.OfAll is null && Selection.TargetFlops is null)
            throw new EspalierException("vit-slim takes one ratio for all or a target of multiply-adds");
        Graph graph = job.Model.Graph;
        if (Selection.Keep.Count > 0 || Selection.Isomorphic || Selection.UnequalHeads || Selection.Groups != new SelectionOptions().Groups)
            throw new EspalierException("vit-slim searches all blocks: leave Keep, Groups, Isomorphic and UnequalHeads out");
        // A run that was stopped behind its search has it in its state, where its stages are counted.
        bool there = Searched.Length > 0 && File.Exists(Searched) && !job.HasState("search");
        if (!there && TrainSteps == 0) throw new EspalierException("TrainSteps is 0: vit-slim learns its masks in training");
        SoftMasks masks = Inserted(job, there);
        if (!there) job.Train("search", TrainSteps, masks);
        if (!there && Searched.Length > 0) job.Model.Save(Searched);
        MaskRanking ranking = MaskRanking.Of(masks, Magnitude);
        masks.TakeOut(Fold);
        using (new Scope())
        {
            Tensor images = job.Example(4);
            Cut(job, Reached(graph, ranking, images), images);
        }
        job.Train("fine-tune", FineTuneSteps);
    }

    /// <summary>The sub-network of a budget for what has none of its own.</summary>
    internal SubNetwork At(double budget, MaskRanking ranking) => ranking.At(Attention > 0 ? Attention : budget,
        Hidden > 0 ? Hidden : budget, Tokens > 0 ? Tokens : budget, Rule, FewestMasks, Selection.Fewest);

    /// <summary>Fewest of attention's masks that stay; of whole heads one is enough.</summary>
    internal int FewestMasks(int count) => Shared == MaskShare.Head ? 1 : Selection.Fewest(count);

    /// <summary>Puts masks in; where the narrowest sub-network costs too much, says so and leaves the network as it is.</summary>
    private SoftMasks Inserted(CompressionJob job, bool searched)
    {
        Graph graph = job.Model.Graph;
        if (AttentionWeight + HiddenWeight + TokenWeight == 0)
            throw new EspalierException("vit-slim searches nothing: AttentionWeight, HiddenWeight and TokenWeight are 0");
        using var scope = new Scope();
        using var edit = new GraphEdit(graph);
        if (Selection.TargetFlops is { } target
            && SubNetwork.Least(graph, this).MultiplyAdds(graph, job.Example(1)) > target * graph.CostPerImage.MultiplyAdds)
            throw new EspalierException(FormattableString.Invariant($"no budget reaches {target} of the multiply-adds"));
        var masks = new SoftMasks(graph, this);
        if (searched) Load(job, masks);
        edit.Commit();
        return masks;
    }

    /// <summary>Takes the values of a search that was done before.</summary>
    private void Load(CompressionJob job, SoftMasks masks)
    {
        using Model searched = Model.Open(Searched);
        foreach (GraphValue weight in job.Model.Graph.Weights.Values)
        {
            if (!searched.Graph.Weights.TryGetValue(weight.Name, out GraphValue? there) || there.Shape != weight.Shape)
                throw new EspalierException($"{Searched}: it is no search of this network: '{weight.Name}' is not there or not "
                    + $"{weight.Shape}; name another file");
        }
        foreach (GraphValue weight in job.Model.Graph.Weights.Values)
            weight.Tensor.CopyFrom(searched.Graph.Weights[weight.Name].Tensor);
        job.Log($"{Searched} has the search of {masks.Blocks.Count} blocks already");
    }

    /// <summary>By the ratio, or the largest of budgets in hundredths, from none, that reaches the target.</summary>
    private SubNetwork Reached(Graph graph, MaskRanking ranking, Tensor images)
    {
        if (Selection.Ratio?.OfAll is { } ratio) return At(1 - ratio, ranking);
        double target = Selection.TargetFlops!.Value, whole = graph.CostPerImage.MultiplyAdds;
        int low = -1, high = 100;
        while (high - low > 1)
        {
            int middle = (low + high) / 2;
            if (At(middle / 100.0, ranking).MultiplyAdds(graph, images) <= target * whole) low = middle;
            else high = middle;
        }
        if (low < 0)
            throw new EspalierException(FormattableString.Invariant($"no budget reaches {target} of the multiply-adds"));
        return At(low / 100.0, ranking);
    }

    private static void Cut(CompressionJob job, SubNetwork small, Tensor images)
    {
        Graph graph = job.Model.Graph;
        long before = graph.CostPerImage.MultiplyAdds, parameters = job.Model.ParameterCount;
        bool fewer = small.Drops(graph);
        if (fewer)
        {
            float[] masked = small.MaskedTokens(graph, images);
            small.DropTokens(graph);
            var summary = PlanSummary.OfSizes(parameters, before, job.Model);
            job.Removed($"tokens ({string.Join(' ', small.Kept.Select(k => k.Tokens.Length))} are left, block by block)",
                new RemovalReport(summary, Removal.Difference(masked, graph.Run(images).Span), []));
        }
        using DependencyGraph channels = job.Graph(HeadView.EachHead);
        RemovalPlan plan = small.Plan(channels);
        if (plan.Count > 0) job.Remove(channels, plan);
        else if (!fewer) throw new EspalierException("nothing would be removed; ask for less");
    }
}

/// <summary>What each entry of each block was worth when the search ended.</summary>
/// <param name="Attention">Block by block, one a mask; empty where attention was not searched.</param>
/// <param name="Shared">The mask of each dimension of all heads.</param>
/// <param name="Ids">The tokens that each block sees.</param>
internal sealed record MaskRanking(double[][] Attention, int[][] Shared, double[][] Hidden, double[][] Tokens, int[][] Ids, int Prefix,
    (int Attention, int Hidden)[] Widths)
{
    public static MaskRanking Of(SoftMasks masks, bool magnitude)
    {
        return new MaskRanking(
            All(m => m.Attention?.ToArray() ?? []), [.. masks.Blocks.Select(m => m.Shared)], All(m => m.Hidden?.ToArray() ?? []),
            All(m => [.. (m.Tokens?.ToArray() ?? []).Select(MathF.Tanh)]),
            [.. masks.Blocks.Select(m => m.Ids)], masks.PrefixTokens,
            [.. masks.Blocks.Select(m => (m.Heads.QueryWidth, m.Units))]);

        double[][] All(Func<BlockMasks, float[]> values) =>
            [.. masks.Blocks.Select(m => values(m).Select(x => (double)(magnitude ? MathF.Abs(x) : x)).ToArray())];
    }

    /// <summary>The sub-network of some budgets.</summary>
    /// <param name="fewestMasks">Fewest of attention's masks that a block keeps.</param>
    /// <param name="fewest">Fewest hidden units.</param>
    public SubNetwork At(double attention, double hidden, double tokens, SlimRule rule, Func<int, int> fewestMasks, Func<int, int> fewest)
    {
        // Masks are chosen, and with each all dimensions that share it.
        bool[][] left = SubNetwork.Choose(Attention, attention, rule, fewestMasks);
        bool[][] dimensions = [.. left.Select((masks, b) => masks.Length == 0 ? [] : Shared[b].Select(m => masks[m]).ToArray())];
        bool[][] units = SubNetwork.Choose(Hidden, hidden, rule, fewest);
        int most = Ids.Max(ids => ids.Max()) + 1;
        bool[][] chosen = SubNetwork.Choose(Tokens, tokens, rule, _ => 0);
        bool[][] places = [.. Ids.Select((ids, b) =>
        {
            var row = new bool[most];
            for (int i = 0; i < ids.Length; i++) row[ids[i]] = chosen[b].Length == 0 || chosen[b][i] || ids[i] < Prefix;
            return row;
        })];
        SubNetwork.Nest(places);
        return new SubNetwork([.. Widths.Select((w, b) => new BlockKept(
            dimensions[b].Length > 0 ? dimensions[b] : All(w.Attention), units[b].Length > 0 ? units[b] : All(w.Hidden),
            [.. Ids[b].Where(t => places[b][t])]))]);

        static bool[] All(int count) => [.. Enumerable.Repeat(true, count)];
    }
}
