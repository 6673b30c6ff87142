namespace Espalier.Compression;

/// <summary>Chooses channels so that the network needs so much time on this machine: by the table, then checked by measuring.</summary>
/// <param name="table">Null for the machine's own.</param>
internal sealed class TimedSelection(Action<string> log, CancellationToken cancel, TimeTable? table = null)
{
    /// <summary>A prediction that is off by more is not of this machine as it is now: the table is measured again, once. Afterwards
    /// it is the machine that is too busy, and no more than this is asked for beyond what the table says.</summary>
    private const double Doubtful = 0.25;

    /// <summary>How much longer than predicted a network may be before less is asked for, and how often that is.</summary>
    private const double Tolerance = 1.02;

    private const int Rounds = 3;

    /// <summary>The smallest share of the target that is asked of the table to meet it: what differs more was measured wrongly.</summary>
    private const double Least = 0.5;

    private bool trusted;

    /// <summary>Milliseconds of the network before anything was removed; null before the first selection.</summary>
    public double? Whole { get; set; }

    /// <summary>The fewest channels, in the order of scores and options, with which the time is at most the target; where layers compete,
    /// the widths that lose least by their scores.</summary>
    /// <exception cref="OutOfReachException">No number of channels reaches the target.</exception>
    public RemovalPlan Choose(DependencyGraph graph, ChannelScores scores, SelectionOptions options, bool orNone)
    {
        table ??= TimeTable.Open();
        var times = new NetworkTimes(graph, table, [.. scores.Groups.Keys], options.TimeBatch);
        if (times.Measure(Progress, cancel, log))
        {
            trusted = true;
            log($"step times: {table.Count} are known of this machine");
        }
        double now = Milliseconds(null);
        Whole ??= now;
        double asked = options.TargetLatency ?? options.TargetTime!.Value * Whole.Value, target = asked;
        RemovalPlan plan;
        try
        {
            plan = Within();
        }
        catch (OutOfReachException) when (!trusted)
        {
            return Again();
        }
        for (int round = 1; plan.Count > 0; round++)
        {
            cancel.ThrowIfCancellationRequested();
            double predicted = Milliseconds(plan), measured = 1e3 * times.Now(plan);
            // A share of the time is held against the whole network as fast as it runs now, milliseconds against the clock.
            double ratio = options.TargetLatency is null ? measured / (1e3 * times.Now()) / (predicted / now) : measured / predicted;
            log(FormattableString.Invariant($"time: {predicted:0.000} ms predicted of {now:0.000} ms for {options.TimeBatch} images; ")
                + FormattableString.Invariant($"measured {100 * (ratio - 1):+0.0;-0.0} % of that"));
            if (!trusted && Math.Abs(ratio - 1) > Doubtful) return Again();
            trusted = true;
            double takes = ratio * predicted;
            if (takes <= asked * Tolerance) return plan;
            if (round > Rounds || target * asked / takes < Least * asked)
            {
                log(FormattableString.Invariant($"time: {takes:0.000} ms, more than the {asked:0.000} that were asked for; a busy ")
                    + "machine measures too much: try again when it is quiet");
                return plan;
            }
            target *= asked / (Math.Min(ratio, 1 + Doubtful) * predicted);
            try
            {
                plan = Within();
            }
            catch (OutOfReachException)
            {
                // It cannot get faster; what there is comes nearest.
                return plan;
            }
        }
        return plan;

        double Milliseconds(RemovalPlan? tried) => 1e3 * times.Of(tried);

        RemovalPlan Within()
        {
            SelectionOptions inTime = options with { TargetTime = null, TargetLatency = target };
            RemovalPlan prefix = ChannelSelector.Choose(graph, scores, inTime, Milliseconds, orNone);
            return !options.Global || options.Isomorphic || prefix.Count == 0 ? prefix
                : BudgetSelection.Improve(prefix, scores, options, Milliseconds, target);
        }

        RemovalPlan Again()
        {
            log("step times: they do not hold any more and are taken again");
            times.Again(Progress, cancel);
            // The whole network cannot be timed any more where a part of it has gone: it changed as what is left did.
            Whole *= Milliseconds(null) / now;
            trusted = true;
            return Choose(graph, scores, options, orNone);
        }
    }

    private void Progress(int done, int all)
    {
        if (done == 1) log($"measuring the times of steps on this machine, on {all} versions of the network; once");
    }
}
