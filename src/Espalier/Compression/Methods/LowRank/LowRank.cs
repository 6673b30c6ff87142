using System.Diagnostics;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.LowRank;

/// <summary>
/// Activation-aware low rank (BALF, arXiv 2509.25136; SVD-LLM's whitening): every layer becomes two thinner ones so that its
/// output on real images changes least, and ranks are chosen by the exact errors of all layers at once. Needs no labels and no
/// training.
/// </summary>
public sealed record LowRank : SplitMethod
{
    private static readonly MethodSettings<LowRank> Known = new()
    {
        { "images", m => m.Images, (m, x) => m with { Images = x }, 2, 1 << 20, "images that are looked at" },
        { "ranks", m => m.Ranks, (m, x) => m with { Ranks = x },
            "knapsack: the choice that keeps most; lagrangian: one price for all layers, as published" },
        { "form", m => m.Form, (m, x) => m with { Form = x },
            "channel: fewer channels and 1 x 1, with the least error; spatial: k x 1 and 1 x k, with more ranks for as much" },
        { "centred", m => m.Centred, (m, x) => m with { Centred = x },
            "yes: deviations from the mean are kept best, and the bias keeps the mean; no: as published" },
        { "timed", m => m.Timed, (m, x) => m with { Timed = x }, "yes: layers that are not faster as two stay as they are" },
    };

    /// <inheritdoc/>
    public override string Name => "low-rank";

    /// <inheritdoc/>
    public override string Purpose => "splits layers in two thinner ones that give most of the same on images; needs no labels";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool NeedsLabels => false;

    /// <summary>Images whose activations are looked at.</summary>
    public int Images { get; init; } = 512;

    public RankRule Ranks { get; init; }

    /// <summary>How convolutions are split.</summary>
    public SplitForm Form { get; init; } = SplitForm.Channel;

    /// <summary>Whether what deviates from the mean is kept best, and the second layer's bias keeps the mean.</summary>
    public bool Centred { get; init; } = true;

    /// <summary>Whether layers stay whole that are not faster as two on this machine: runs differ then.</summary>
    public bool Timed { get; init; } = true;

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        SplitLayer[] layers = LayersOf(job.Model.Graph);
        RankPlan.Check(this, job, layers);
        long started = Stopwatch.GetTimestamp();
        Dictionary<SplitLayer, AwareLayer> aware = Look(job.Model.Graph, layers, job.CalibrationBatches(Images));
        job.Log(FormattableString.Invariant($"low-rank: activations of {layers.Length} layers on {Images} images at most in ")
            + FormattableString.Invariant($"{Stopwatch.GetElapsedTime(started).TotalSeconds:0.0} s"));
        var plan = new RankPlan(job, this, layers, Timed);
        int[] ranks = plan.Choose((left, budget) => Choose([.. left.Select(l => aware[l])], budget));
        double[] kept = [.. layers.Zip(ranks, (l, r) => aware[l].Energy[r - 1])];
        job.Log(FormattableString.Invariant($"low-rank: {Ranks} searched for {plan.Searched.TotalSeconds:0.000} s; layers keep ")
            .ToLowerInvariant()
            + FormattableString.Invariant($"{kept.Average():0.0%} of their output, at the least {kept.Min():0.0%}"));
        plan.Apply(ranks, (layer, rank) => aware[layer].At(rank));
        job.Train("fine-tune", FineTuneSteps);
    }

    /// <summary>Convolutions and linear layers, but for the one that reads images.</summary>
    internal SplitLayer[] LayersOf(Graph graph) =>
        [.. SplitLayer.Find(graph, Form, Selection, groups: SplitForm.Channel).Where(l => !l.IsFirst)];

    /// <summary>What layers do on some images.</summary>
    /// <exception cref="EspalierException">There are no images, or activations are not finite.</exception>
    internal Dictionary<SplitLayer, AwareLayer> Look(Graph graph, IReadOnlyList<SplitLayer> layers, IEnumerable<Tensor> images)
    {
        // Queries, keys and values read one value.
        ILookup<MomentSource, SplitLayer> sources = layers.ToLookup(AwareLayer.SourceOf);
        var all = new Dictionary<SplitLayer, AwareLayer>();
        foreach (var (source, moments) in ActivationMoments.Of(graph, [.. sources.Select(s => s.Key)], images))
            foreach (SplitLayer layer in sources[source]) all.Add(layer, new AwareLayer(layer, moments, Centred));
        return all;
    }

    /// <summary>The rank of each layer within a budget of multiply-adds.</summary>
    internal int[] Choose(IReadOnlyList<AwareLayer> layers, double budget)
    {
        RankOption[][] options = [.. layers.Select(l => l.Layer.Ranks.Allowed
            .Select(r => new RankOption(r, l.Layer.Ranks.CostAt(r), l.Energy[r - 1])).ToArray())];
        return [.. Allocation.Of(Ranks, options, budget).Select((o, i) => options[i][o].Rank)];
    }
}
