using System.Globalization;
using Espalier.Data;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.NVit;

/// <summary>
/// NViT (Yang et al., CVPR 2023, arXiv 2110.04869): channels of the stream, heads, indices of queries and keys, indices of values
/// and hidden units of a vision transformer compete by one score, the squared first-order change of the loss less a reward for
/// the time that a unit's removal saves on this machine. The least important go in training, a few at a time.
/// </summary>
public sealed record NVit : CompressionMethod
{
    private const ChannelKind All =
        ChannelKind.Stream | ChannelKind.Heads | ChannelKind.QueryKey | ChannelKind.Value | ChannelKind.Hidden;

    private static readonly MethodSettings<NVit> Known = new()
    {
        { "every", m => m.Every, (m, x) => m with { Every = x }, 1, 1_000_000_000_000,
            "steps between prunings; the last step is always one" },
        { "chunks", m => m.Chunks, (m, x) => m with { Chunks = x }, 0, 1 << 20,
            "groups of units that go at a time; 0: as many as bring the network evenly to its target; the paper has 2" },
        { "eta", m => m.Eta, (m, x) => m with { Eta = x }, 0.0, double.PositiveInfinity,
            "what a score loses for a unit that saves the network's whole time; 0: time has no say and is not measured" },
        { "momentum", m => m.Momentum, (m, x) => m with { Momentum = x }, 0.0, 0.9999,
            "how much of a score stays from one pruning to the next" },
        { "shape", m => m.Shape, (m, x) => m with { Shape = x },
            "scores: widths come of the scores; revit: widths by the ReViT rule, scores say which units stay" },
    };

    /// <inheritdoc/>
    public override string Name => "nvit";

    /// <inheritdoc/>
    public override string Purpose => "removes units of all kinds from a vision transformer while it trains, by loss and time";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool TrainsFirst => true;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses => [CompressionOrder.FewBits];

    /// <summary>Steps between prunings.</summary>
    public long Every { get; init; } = 100;

    /// <summary>Groups of units that go at a time until the target is reached; 0 for evenly over all of the training.</summary>
    public int Chunks { get; init; }

    /// <summary>
    /// η. The paper takes it times seconds, of a network of 0.97 s; here it goes with shares of the network's time, so that it
    /// means the same on any machine.
    /// </summary>
    public double Eta { get; init; } = 5e-4;

    /// <summary>Of the scores, from pruning to pruning.</summary>
    public double Momentum { get; init; } = 0.9;

    public NVitShape Shape { get; init; }

    private protected override string ByGradients => "NViT judges";

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        SelectionOptions selection = Allowed();
        ChannelKind kinds = selection.Groups == new SelectionOptions().Groups ? All : selection.Groups;
        using DependencyGraph graph = job.Graph(HeadView.Heads, HeadView.AllHeads);
        NVitUnits units = NVitUnits.Of(job.Model.Graph, graph, selection, kinds);
        bool byTime = selection.TargetTime is not null || selection.TargetLatency is not null;
        NetworkTimes? times = byTime || Eta > 0 ? Times(job, graph, units) : null;
        double target = Target(selection, times);
        Func<RemovalPlan, double> left = byTime ? plan => times!.Of(plan) / times.Of()
            : selection.Ratio is not null ? plan => 1 - (double)plan.Count / units.Count
            : plan => (double)graph.MultiplyAdds(plan) / graph.MultiplyAdds();
        var choice = new NVitChoice(units, left, Shape, times is null ? null : times.Of, Eta);
        var reachable = new NVitChoice(units, left, Shape);
        if (reachable.Left(reachable.Next(target)) is var least && least > target)
            throw new EspalierException(FormattableString.Invariant($"no widths reach {target:0.###} of the network: with each ")
                + FormattableString.Invariant($"layer at its least {least:0.###} is left; ")
                + "allow narrower layers, more kinds, or ask for less");
        var hook = new NVitHook(units, choice, this, target);
        if (TrainSteps > 0) job.Train("pruning", TrainSteps, hook);
        else Judge(job, units, hook);
        Log(job, units, times);
        job.Remove(graph, units.Plan());
        job.Train("fine-tune", FineTuneSteps);
    }

    private SelectionOptions Allowed()
    {
        SelectionOptions selection = Selection.Checked();
        string? wrong = Rounds > 1 ? $"Rounds is {Rounds}: NViT removes a little at a time in one training; leave it at 1"
            : TrainSteps == 0 && RankBatches == 0 ? "RankBatches is 0: without TrainSteps NViT judges by that many batches"
            : selection.Threshold is not null ? "NViT has no Threshold: how much goes is a Ratio or a target"
            : selection.Ratio is { OfAll: null } ? "NViT has one Ratio for all units, which compete"
            : selection.Isomorphic ? "NViT has one order for all units: leave Isomorphic out"
            : selection.UnequalHeads ? "NViT removes an index from all heads of a block: leave UnequalHeads out"
            : selection.RoundTo > 1 ? "NViT removes units in groups of a size of its own: leave RoundTo out" : null;
        return wrong is null ? selection : throw new EspalierException(wrong);
    }

    /// <summary>The share of the whole to keep at most.</summary>
    private double Target(SelectionOptions selection, NetworkTimes? times)
    {
        if (selection.TargetTime is { } share) return share;
        if (selection.TargetLatency is { } latency)
        {
            double now = times!.Of() * 1000;
            if (latency >= now)
                throw new EspalierException(FormattableString.Invariant($"TargetLatency is {latency} ms; now it is {now:0.###}"));
            return latency / now;
        }
        return selection.ShareLeft;
    }

    /// <summary>This machine's times. They differ from run to run: one that is resumed goes on with those that it had.</summary>
    private NetworkTimes Times(CompressionJob job, DependencyGraph graph, NVitUnits units)
    {
        ChannelGroup[] groups = [.. units.Layers.Select(l => l.Group)];
        string? kept = Training.OutputDir is { } folder ? Path.Combine(folder, $"{Name}-times.json") : null;
        TimeTable table = TimeTable.Open(kept);
        var times = new NetworkTimes(graph, table, groups, Selection.TimeBatch);
        if (kept is not null && Training.Resume && File.Exists(kept)) return times;
        if (times.Measure()) job.Log($"measured {table.Count} times of this machine");
        return kept is null ? times : new NetworkTimes(graph, TimeTable.Open(kept), groups, Selection.TimeBatch);
    }

    /// <summary>Without training: the scores of some batches, and all goes at once.</summary>
    private static void Judge(CompressionJob job, NVitUnits units, NVitHook hook)
    {
        Graph network = job.Model.Graph;
        try
        {
            foreach (Batch batch in job.RankingBatches())
            {
                using var recording = new Recording();
                Tensor logits = network.Run(batch.ToTensor(job.Model.Channels, job.Model.ImageSize));
                recording.Backward(F.CrossEntropy(logits, batch.Labels));
                units.AddGradients();
                job.ClearGradients();
            }
        }
        finally
        {
            job.ClearGradients();
        }
        hook.Prune(1, 1, null);
    }

    private static void Log(CompressionJob job, NVitUnits units, NetworkTimes? times)
    {
        foreach (var kind in units.Layers.GroupBy(l => l.Kind))
        {
            string what = kind.Key switch
            {
                NVitKind.Embedding => "channels of the stream",
                NVitKind.Head => "heads of each block",
                NVitKind.QueryKey => "queries and keys of each head",
                NVitKind.Value => "values of each head",
                _ => "hidden units of each block",
            };
            job.Log($"{what}: {string.Join(' ', kind.Select(l => l.Left))} of {kind.Max(l => l.Group.Count)}");
        }
        if (times is not null)
            job.Log(FormattableString.Invariant($"predicted time: {times.Of(units.Plan()) / times.Of():0.0%} of the network's, ")
                + $"{times.Batch} image{(times.Batch == 1 ? "" : "s")} at a time");
    }
}

/// <summary>Judges units by the gradients of every step, and lets the least important go every so many steps.</summary>
/// <param name="target">The share of the network that is left at the end.</param>
internal sealed class NVitHook(NVitUnits units, NVitChoice choice, NVit options, double target) : ITrainingHook
{
    private Optimizer? optimizer;
    private long prunings;

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        .. options.Settings.Select(s => ($"NVit{s.Property}", s.Of(options))),
        ("NVitTarget", target.ToString("R", CultureInfo.InvariantCulture)), ("NVitSchedule", options.Schedule.ToString()),
    ];

    /// <inheritdoc/>
    public void BeforeForward(in StepContext context) => optimizer = context.Optimizer;

    /// <summary>By the gradients of the whole step and the weights that they are of, before these are updated.</summary>
    public void AfterBackward(in StepContext context)
    {
        if (context.MicroBatch == context.MicroBatches - 1) units.AddGradients();
    }

    /// <inheritdoc/>
    public void AfterStep(long step)
    {
        long steps = options.TrainSteps;
        int all = (int)((steps + options.Every - 1) / options.Every);
        if (step == steps) Prune(all, all, optimizer);
        else if (step % options.Every == 0) Prune((int)(step / options.Every), all, optimizer);
        else units.Zero();
    }

    /// <summary>One pruning: the scores are averaged, and units go until the share of this pruning is left.</summary>
    /// <param name="number">From 1.</param>
    /// <param name="all">Prunings of the training; the last reaches the target.</param>
    internal void Prune(int number, int all, Optimizer? renew)
    {
        // The first scores are of a network that nothing was taken from: the next do not go on from them.
        units.Average(++prunings <= 2 ? 0 : options.Momentum);
        bool evenly = options.Chunks == 0 || options.Shape == NVitShape.Revit;
        double share = evenly && number < all ? options.Schedule.Left(target, number, all) : target;
        units.Remove(choice.Next(share, evenly || number == all ? int.MaxValue : options.Chunks), renew);
    }

    /// <inheritdoc/>
    public void SaveState(StateWriter state)
    {
        state.Add("prunings", prunings);
        units.Save(state);
    }

    /// <inheritdoc/>
    public void LoadState(StateReader state)
    {
        prunings = state.ReadLong("prunings");
        units.Load(state);
    }
}
