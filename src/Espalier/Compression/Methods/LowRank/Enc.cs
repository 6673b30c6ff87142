using System.Diagnostics;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.LowRank;

/// <summary>How ENC finds ranks.</summary>
public enum EncSearch
{
    /// <summary>The same share for all layers.</summary>
    Uniform,

    /// <summary>ENC-Map: the same value of the metric for all layers.</summary>
    Map,

    /// <summary>ENC-Model: the most of the metric for the network, around ENC-Map's ranks.</summary>
    Model,

    /// <summary>ENC-Inf: of the best that ENC-Model finds the one with the best measured accuracy.</summary>
    Inf,
}

/// <summary>Which layers are split.</summary>
public enum EncLayers
{
    /// <summary>Convolutions; in a network that is mostly linear layers those as well.</summary>
    Auto,

    Convolutions,

    All,
}

/// <summary>
/// Efficient Network Compression (Kim, Khan and Kyung, CVPR 2019, arXiv 1811.12781): every layer becomes two thinner ones by a
/// truncated SVD, and a search finds how many ranks each keeps for a target of multiply-adds.
/// </summary>
public sealed record Enc : SplitMethod
{
    private static readonly MethodSettings<Enc> Known = new()
    {
        { "search", m => m.Search, (m, x) => m with { Search = x },
            "uniform: one share; map: one value of the metric; model: the best by it; inf: the best of some of those, measured" },
        { "metric", m => m.Metric, (m, x) => m with { Metric = x },
            "energy: of singular values; measured: accuracy; combined: both" },
        { "form", m => m.Form, (m, x) => m with { Form = x }, "spatial: k x 1 and 1 x k; channel: fewer channels and 1 x 1" },
        { "layers", m => m.Layers, (m, x) => m with { Layers = x },
            "which become two; auto: linear ones where they are most of the work" },
        { "first", m => m.First, (m, x) => m with { First = x }, 0.1, 1.0,
            "share of its ranks that the layer which reads images keeps; 1 leaves it whole" },
        { "projections", m => m.Projections, (m, x) => m with { Projections = x },
            "yes: pointwise convolutions of shortcuts, too" },
        { "candidates", m => m.Candidates, (m, x) => m with { Candidates = x }, 1, 1000, "of inf: how many are measured" },
        { "timed", m => m.Timed, (m, x) => m with { Timed = x }, "yes: layers that are not faster as two stay as they are" },
    };

    /// <inheritdoc/>
    public override string Name => "enc";

    /// <inheritdoc/>
    public override string Purpose => "splits convolutions into two thinner ones by SVD, and finds their ranks for a target";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool NeedsLabels => Metric != EncMetric.Energy || Search == EncSearch.Inf;

    public EncSearch Search { get; init; } = EncSearch.Map;

    public EncMetric Metric { get; init; }

    public SplitForm Form { get; init; }

    public EncLayers Layers { get; init; }

    /// <summary>Share of its most ranks that the layer which reads the images keeps; 1 leaves it as it is.</summary>
    public double First { get; init; } = 1;

    /// <summary>Whether pointwise convolutions on shortcuts are split, too.</summary>
    public bool Projections { get; init; }

    /// <summary>Of <see cref="EncSearch.Inf"/>: how many of the best are measured.</summary>
    public int Candidates { get; init; } = 20;

    /// <summary>Whether layers stay whole that are not faster as two on this machine: runs differ then.</summary>
    public bool Timed { get; init; } = true;

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        SplitLayer[] layers = LayersOf(job.Model.Graph);
        RankPlan.Check(this, job, layers);
        long started = Stopwatch.GetTimestamp();
        Dictionary<SplitLayer, Decomposition[]> parts = layers.ToDictionary(l => l, l => Decompose(l));
        Took($"enc: singular values of {layers.Length} layers");
        var accuracy = new TruncatedAccuracy(job);
        Dictionary<SplitLayer, double[]> energy = layers.ToDictionary(l => l, l =>
            RankMetric.Energy(Summed(parts[l]), l.Ranks.Most));
        Dictionary<SplitLayer, double[]>? measured = Metric == EncMetric.Energy ? null
            : layers.ToDictionary(l => l, l => Measure(l, parts[l], accuracy));
        if (measured is not null) Took("enc: accuracy at some ranks of each layer");
        var plan = new RankPlan(job, this, layers, Timed);
        int[] ranks = plan.Choose((left, budget) => Find(left, budget, energy, measured, parts, accuracy));
        job.Log(FormattableString.Invariant($"enc: {Search} by {Metric} searched for {plan.Searched.TotalSeconds:0.000} s")
            .ToLowerInvariant());
        plan.Apply(ranks, (layer, rank) => new LayerSplit(layer, rank, parts[layer]));
        job.Train("fine-tune", FineTuneSteps);

        void Took(string what)
        {
            job.Log(FormattableString.Invariant($"{what} in {Stopwatch.GetElapsedTime(started).TotalSeconds:0.0} s"));
            started = Stopwatch.GetTimestamp();
        }
    }

    /// <summary>The layers of a graph that are split, with the ranks that they may have.</summary>
    internal SplitLayer[] LayersOf(Graph graph)
    {
        SplitLayer[] layers = [.. SplitLayer.Find(graph, Form, Selection)
            .Where(l => (!l.IsProjection || Projections) && (!l.IsFirst || First < 1))];
        double all = layers.Sum(l => l.Cost), products = layers.Where(l => l.Node.Op is LinearOp).Sum(l => l.Cost);
        bool linear = Layers == EncLayers.All || (Layers == EncLayers.Auto && products > all / 2);
        layers = [.. layers.Where(l => linear || l.Node.Op is Conv2dOp)];
        foreach (SplitLayer layer in layers.Where(l => l.IsFirst)) layer.Ranks.Fix(First * layer.Ranks.Most);
        return layers;
    }

    internal static Decomposition[] Decompose(SplitLayer layer) => [.. Enumerable.Range(0, layer.Groups)
        .Select(g => Decomposition.Of(layer.Matrix(g), layer.Rows, layer.MatrixColumns, layer.Ranks.Most))];

    private int[] Find(IReadOnlyList<SplitLayer> left, double budget, Dictionary<SplitLayer, double[]> energy,
        Dictionary<SplitLayer, double[]>? measured, Dictionary<SplitLayer, Decomposition[]> parts, TruncatedAccuracy accuracy)
    {
        LayerRanks[] ranks = [.. left.Select(l => l.Ranks)];
        if (Search == EncSearch.Uniform) return RankSearch.Uniform(ranks, budget);
        double[][] p = [.. left.Select(l => energy[l])];
        double[][]? m = measured is null ? null : [.. left.Select(l => measured[l])];
        double complexity = budget / left.Sum(l => l.Cost);
        double[][] shared = Metric switch
        {
            EncMetric.Energy => p,
            EncMetric.Measured => m!,
            // What A_c is for a network, for a layer, and 1 where both are.
            _ => [.. p.Zip(m!, (a, b) => a.Zip(b, (x, y) => (x * complexity + y) / (complexity + 1)).ToArray())],
        };
        if (Search == EncSearch.Map) return RankSearch.Map(ranks, shared, budget);
        int count = Search == EncSearch.Inf ? Candidates : 1;
        IReadOnlyList<int[]> best = RankSearch.Model(ranks, Metric, p, m, shared, budget, count);
        return Search == EncSearch.Model ? best[0] : best.MaxBy(choice => accuracy.With(
            [.. left.Zip(choice).Where(c => c.Second < c.First.Ranks.Most)
                .Select(c => new LayerSplit(c.First, c.Second, parts[c.First]))]))!;
    }

    /// <summary>Accuracy with only this layer truncated, as a share of the network's.</summary>
    private static double[] Measure(SplitLayer layer, Decomposition[] groups, TruncatedAccuracy accuracy)
    {
        int most = layer.Ranks.Most;
        double whole = Math.Max(accuracy.Whole, 1e-9);
        return RankMetric.Measured(
            [.. RankMetric.RanksToMeasure(most).Select(r => (r, accuracy.With(new LayerSplit(layer, r, groups)) / whole)),
                (most, 1)], most);
    }

    private static double[] Summed(Decomposition[] groups) =>
        [.. Enumerable.Range(0, groups[0].Values.Length).Select(k => groups.Sum(g => g.Values[k]))];
}
