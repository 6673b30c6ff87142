using System.Globalization;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.RePr;

/// <summary>Which filters compete in a drop of <see cref="RePr"/>.</summary>
public enum ReprRank
{
    /// <summary>All, by overlap times fan-in to the power <see cref="RePr.Alpha"/>.</summary>
    FanIn,

    /// <summary>All, by overlap: the paper's rule.</summary>
    Global,

    /// <summary>Those of each layer.</summary>
    Layer,
}

/// <summary>
/// RePr (Prakash et al., CVPR 2019, arXiv 1811.07275): in training the filters that overlap most with others of their layer are
/// dropped for a while and come back with orthogonal weights, again and again. A way to train; stopped while filters are away it
/// prunes.
/// </summary>
public sealed record RePr : CompressionMethod
{
    private const long MostSteps = 1_000_000_000_000;

    private static readonly MethodSettings<RePr> Known = new()
    {
        { "first", m => m.First, (m, x) => m with { First = x }, 0, MostSteps,
            "steps at full size before a drop, 0 for a fifth of the training" },
        { "thin", m => m.Thin, (m, x) => m with { Thin = x }, 0, MostSteps,
            "steps without the dropped filters, 0 for a tenth of the training" },
        { "cycles", m => m.Cycles, (m, x) => m with { Cycles = x }, 0, 1_000_000, "drops at most, 0 for as many as fit" },
        { "drop", m => m.Drop, (m, x) => m with { Drop = x }, 0.001, 0.9,
            "share of the filters that a drop takes; what is removed in the end is the target's to say" },
        { "rank", m => m.Rank, (m, x) => m with { Rank = x },
            "fan-in: over all layers, by overlap times fan-in to the power alpha; global: by overlap; layer: in each layer" },
        { "alpha", m => m.Alpha, (m, x) => m with { Alpha = x }, -1.0, 2.0, "the power, for rank=fan-in" },
        { "exclude-first", m => m.ExcludeFirst, (m, x) => m with { ExcludeFirst = x },
            "yes: the first convolution keeps its filters" },
        { "length", m => m.Clip, (m, x) => m with { Clip = x },
            "of new filters: the mean of the others; clip: unit vectors, entries up to 1/sqrt(fan-in)", "survivors", "clip" },
        { "relax", m => m.Relax, (m, x) => m with { Relax = x },
            "yes: where no orthogonal direction is left, restored filters are so to the most overlapping only" },
        { "readers", m => m.ZeroReaders, (m, x) => m with { ZeroReaders = x },
            "zeros: the weights that read a restored filter start at zero", "random", "zeros" },
        { "boost", m => m.Boost, (m, x) => m with { Boost = x }, 0.01, 1000.0,
            "gradients of restored filters times this, until the next drop; of no use to optimisers that divide by them" },
        { "branches", m => m.Branches, (m, x) => m with { Branches = x },
            "yes: filters whose results are added to a residual stream are dropped as well; with end=full" },
        { "reverse", m => m.Reverse, (m, x) => m with { Reverse = x },
            "yes: drops the least overlapping filters, to see that the rule matters" },
        { "end", m => m.EndThin, (m, x) => m with { EndThin = x },
            "thin: the filters of the last drop are removed; full: the network ends at its full size", "full", "thin" },
    };

    /// <inheritdoc/>
    public override string Name => "repr";

    /// <inheritdoc/>
    public override string Purpose =>
        "drops overlapping filters, which come back orthogonal, while training; removes the last ones";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool TrainsFirst => true;

    /// <inheritdoc/>
    public override bool Removes => EndThin;

    /// <summary>S1, steps at full size before a drop; 0 for a fifth of the training (the paper: 20 of 100 epochs).</summary>
    public long First { get; init; }

    /// <summary>S2, steps without the dropped filters; 0 for a tenth of the training.</summary>
    public long Thin { get; init; }

    /// <summary>Drops at most; 0 for as many as fit.</summary>
    public int Cycles { get; init; } = 3;

    /// <summary>Share of the filters that a drop takes which is restored.</summary>
    public double Drop { get; init; } = 0.3;

    /// <summary>Which filters compete.</summary>
    public ReprRank Rank { get; init; }

    /// <summary>Power of the fan-in for <see cref="ReprRank.FanIn"/>.</summary>
    public double Alpha { get; init; } = 0.5;

    /// <summary>Whether the first convolution keeps its filters.</summary>
    public bool ExcludeFirst { get; init; }

    /// <summary>
    /// Whether new filters are unit vectors with entries up to 1/sqrt(fan-in), which are no longer orthogonal; else they are as
    /// long as the mean of those that stayed.
    /// </summary>
    public bool Clip { get; init; }

    /// <summary>Whether filters that no orthogonal direction is left for are so to the most overlapping ones only.</summary>
    public bool Relax { get; init; }

    /// <summary>Whether the weights that read a restored filter start at zero; else they are drawn anew.</summary>
    public bool ZeroReaders { get; init; }

    /// <summary>What the gradients of restored filters are multiplied with until the next drop.</summary>
    public double Boost { get; init; } = 1;

    /// <summary>Whether filters whose results are added to a residual stream are dropped as well; not with
    /// <see cref="EndThin"/>.</summary>
    public bool Branches { get; init; }

    /// <summary>Whether the least overlapping filters are dropped: a check that the rule matters.</summary>
    public bool Reverse { get; init; }

    /// <summary>Whether the filters of the last drop are removed; else the network ends at its full size.</summary>
    public bool EndThin { get; init; } = true;

    private bool Compete => Rank != ReprRank.Layer;

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        ReprSchedule schedule = CheckedSchedule();
        SelectionOptions selection = Selection.Checked();
        if (EndThin) selection = (selection with { Global = Compete }).Checked();
        if (selection.Threshold is not null && EndThin)
            throw new EspalierException("RePr takes a ratio, or a target of multiply-adds or latency, not a threshold");
        using DependencyGraph graph = job.Graph();
        IReadOnlyList<ChannelGroup> layers = ReprLayers.Find(graph, selection, Branches, ExcludeFirst);
        var probe = new ReprProbe(job);
        var hook = new ReprHook(this, schedule, layers, Choose, probe);
        job.Train("repr", TrainSteps, hook);
        // Averages of the weights, where they are taken, remember what filters were before they were dropped.
        if (EndThin) hook.Dropped?.Hold();
        // Filters have been held at zero, constants included: nothing is left that could be moved.
        if (EndThin) job.Remove(graph, hook.Dropped?.Plan ?? Final(job, graph, layers), new RemovalOptions(MoveConstants: false));
        else probe.Report(TrainSteps, going: null);
        job.Train("fine-tune", FineTuneSteps);

        IReadOnlyList<(ChannelGroup, int[])> Choose(bool last)
        {
            if (!last || !EndThin) return Cycle(layers);
            // In the order of the layers, as a training state is read again.
            RemovalPlan plan = Final(job, graph, layers);
            return [.. layers.Where(g => plan.Channels.ContainsKey(g.Name)).Select(g => (g, plan.Channels[g.Name]))];
        }
    }

    /// <exception cref="EspalierException">Options contradict each other, or no cycle fits into the training.</exception>
    internal ReprSchedule CheckedSchedule()
    {
        if (Branches && EndThin)
            throw new EspalierException("Branches goes with a network that ends at its full size (end=full): a stream's channel "
                + "cannot be removed from one branch");
        if (TrainSteps > 0 && Training.TrainOnly.Count > 0)
            throw new EspalierException("RePr draws filters anew, which then have to be trained: leave TrainOnly out");
        long first = First > 0 ? First : Math.Max(1, TrainSteps / 5), thin = Thin > 0 ? Thin : Math.Max(1, TrainSteps / 10);
        var schedule = new ReprSchedule(TrainSteps, first, thin, Cycles, EndThin);
        return schedule.Drops.Count > 0 || (TrainSteps == 0 && EndThin) ? schedule
            : throw new EspalierException(string.Create(CultureInfo.InvariantCulture,
                $"no cycle of RePr fits into {TrainSteps} training steps, with {first} before a drop and {thin} after it; ")
                + "make TrainSteps more, or First and Thin less");
    }

    /// <summary>The channels of a drop that comes back.</summary>
    private (ChannelGroup, int[])[] Cycle(IReadOnlyList<ChannelGroup> layers)
    {
        int[][] chosen = DropRule.Choose([.. layers.Select(Ranked)], Drop, Compete,
            count => Math.Max(DropRule.Fewest(count), Selection.Fewest(count)));
        return [.. layers.Zip(chosen).Where(c => c.Second.Length > 0)];
    }

    /// <summary>The channels that are removed in the end, as many as the target asks for.</summary>
    private RemovalPlan Final(CompressionJob job, DependencyGraph graph, IReadOnlyList<ChannelGroup> layers)
    {
        var scores = new ChannelScores();
        foreach (ChannelGroup group in layers) scores.Set(group, [.. Ranked(group).Select(o => -o)]);
        return job.Select(graph, scores, Selection with
        {
            Global = Compete, MinKeptShare = Math.Max(Selection.MinKeptShare, DropRule.LeastShare),
        });
    }

    /// <summary>The largest go first.</summary>
    private double[] Ranked(ChannelGroup group)
    {
        double[] overlap = FilterOverlap.Of(group, Rank == ReprRank.FanIn ? Alpha : 0);
        return Reverse ? [.. overlap.Select(o => -o)] : overlap;
    }
}

/// <summary>
/// When filters go and come back, in steps that have been done by then: a drop after S1 + k (S1 + S2) steps, its restore S2 steps
/// later, as long as the training has steps left.
/// </summary>
internal sealed class ReprSchedule
{
    /// <param name="steps">Of the whole training.</param>
    /// <param name="first">S1, steps at full size before a drop.</param>
    /// <param name="thin">S2, steps without the dropped filters.</param>
    /// <param name="cycles">Drops at most; 0 for as many as fit.</param>
    /// <param name="endThin">
    /// Whether what the last drop took stays away to the end. Else a drop that would not be restored in time is left out, so that
    /// the network ends whole.
    /// </param>
    public ReprSchedule(long steps, long first, long thin, int cycles, bool endThin)
    {
        var (drops, restores) = (new List<long>(), new List<long>());
        for (long drop = first; drop < steps && (cycles == 0 || drops.Count < cycles); drop += first + thin)
        {
            if (!endThin && drop + thin >= steps) break;
            drops.Add(drop);
            if (drop + thin < steps) restores.Add(drop + thin);
        }
        if (endThin && restores.Count == drops.Count && restores.Count > 0) restores.RemoveAt(restores.Count - 1);
        (Drops, Restores) = (drops, restores);
    }

    public IReadOnlyList<long> Drops { get; }

    public IReadOnlyList<long> Restores { get; }
}

/// <summary>The convolutions whose filters RePr may drop, in the order of the forward pass.</summary>
internal static class ReprLayers
{
    /// <summary>
    /// Groups that are made by convolutions. With branches the convolutions whose results are added to a residual stream as well,
    /// each on its own: without their filters the stream still carries the channel, so they can be silent but not be removed.
    /// </summary>
    /// <exception cref="EspalierException">There are none.</exception>
    public static IReadOnlyList<ChannelGroup> Find(DependencyGraph graph, SelectionOptions selection, bool branches,
        bool excludeFirst)
    {
        using var scope = new Scope();
        using Recording recording = graph.Record(out _);
        Conv2dOp[] convolutions = [.. recording.Ops.OfType<Conv2dOp>()];
        Dictionary<Tensor, int> order = [];
        foreach (Conv2dOp op in convolutions) order.TryAdd(op.Inputs[1], order.Count);
        List<ChannelGroup> layers = [.. selection.Candidates(graph).Where(g => FilterWeights.Of(g).Any()
            && FilterWeights.Of(g).All(s => order.ContainsKey(s.Tensor)))];
        if (branches)
        {
            HashSet<Tensor> taken = [.. layers.SelectMany(FilterWeights.Of).Select(s => s.Tensor)];
            layers.AddRange(convolutions.Where(op => op.Groups == 1 && taken.Add(op.Inputs[1]))
                .Select(op => Branch(graph, recording.Ops, op)).OfType<ChannelGroup>().Where(g => !selection.Keeps(g)));
        }
        if (excludeFirst) layers.RemoveAll(g => FilterWeights.Of(g).Any(s => order[s.Tensor] == 0));
        return layers.Count == 0 ? throw None(graph)
            : [.. layers.OrderBy(g => FilterWeights.Of(g).Min(s => order[s.Tensor]))];
    }

    private static EspalierException None(DependencyGraph graph) =>
        new("the model has no convolutions whose filters could be dropped" + (graph.Fixed.Count == 0 ? ""
            : $"; those of {graph.Fixed[0].Name}, for one, must stay: {graph.Fixed[0].Reason}"));

    /// <summary>
    /// A convolution with its bias and, where one follows, its batch norm; null where the result is not added to something. Its
    /// channels have no readers of their own.
    /// </summary>
    private static ChannelGroup? Branch(DependencyGraph graph, IReadOnlyList<Op> ops, Conv2dOp convolution)
    {
        Tensor result = convolution.Output, weight = convolution.Inputs[1];
        int[][] entries = [.. Enumerable.Range(0, weight.Shape[0]).Select(k => (int[])[k])];
        List<GroupSlice> slices = [Slice(weight, ChannelRole.Producer)];
        if (convolution.Bias is { } bias) slices.Add(Slice(bias, ChannelRole.Bias));
        if (ops.OfType<BatchNorm2dOp>().FirstOrDefault(n => n.Inputs[0] == result) is { } norm)
        {
            result = norm.Output;
            slices.Add(Slice(norm.Inputs[1], ChannelRole.Scale));
            slices.Add(Slice(norm.Inputs[2], ChannelRole.NormShift));
            slices.Add(Slice(norm.Inputs[3], ChannelRole.RunningMean));
            slices.Add(Slice(norm.Inputs[4], ChannelRole.RunningVariance));
        }
        return ops.OfType<AddOp>().Any(add => add.Inputs.Contains(result))
            ? new ChannelGroup(slices[0].Layer, 0, slices, ChannelKind.Stream, inexact: null) : null;

        GroupSlice Slice(Tensor tensor, ChannelRole role) => new(graph.Names[tensor], tensor, 0, role, entries);
    }
}
