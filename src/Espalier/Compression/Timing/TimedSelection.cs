using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>Chooses channels so that the network needs so much time on this machine: by the table, then checked by measuring.</summary>
internal sealed class TimedSelection(Action<string> log, CancellationToken cancel)
{
    /// <summary>How much longer than predicted a network may be before less is asked for, and how often that is.</summary>
    private const double Tolerance = 1.02;

    private const int Rounds = 3;

    /// <summary>Milliseconds of the network before anything was removed.</summary>
    private double? whole;

    /// <summary>The fewest channels, in the order of scores and options, with which the time is at most the target.</summary>
    /// <param name="images">Of a call; fewer where there are not so many, which are then repeated.</param>
    /// <exception cref="EspalierException">No number of channels reaches the target.</exception>
    public RemovalPlan Choose(DependencyGraph graph, ChannelScores scores, SelectionOptions options, Tensor images, bool orNone)
    {
        TimeTable table = TimeTable.Open();
        var times = new NetworkTimes(graph, table, [.. scores.Groups.Keys], options.TimeBatch);
        if (times.Measure((done, all) => Progress(done, all), cancel)) log($"step times: {table.Count} are known of this machine");
        double now = Milliseconds(null);
        whole ??= now;
        double asked = options.TargetLatency ?? options.TargetTime!.Value * whole.Value, target = asked;
        SelectionOptions InTime() => options with { TargetTime = null, TargetLatency = target };
        RemovalPlan plan = ChannelSelector.Choose(graph, scores, InTime(), Milliseconds, orNone);
        using Tensor batch = Repeated(images, options.TimeBatch);
        for (int round = 1; plan.Count > 0; round++)
        {
            cancel.ThrowIfCancellationRequested();
            double predicted = Milliseconds(plan), ratio = Measured(plan) / (predicted / now);
            log(FormattableString.Invariant($"time: {predicted:0.000} ms predicted of {now:0.000} ms for {options.TimeBatch} images; ")
                + FormattableString.Invariant($"measured {100 * (ratio - 1):+0.0;-0.0} % of that"));
            if (ratio * predicted <= asked * Tolerance || round > Rounds) return plan;
            target *= asked / (ratio * predicted);
            try
            {
                plan = ChannelSelector.Choose(graph, scores, InTime(), Milliseconds, orNone);
            }
            catch (EspalierException)
            {
                // It cannot get faster; what there is comes nearest.
                return plan;
            }
        }
        return plan;

        double Milliseconds(RemovalPlan? tried) => 1e3 * times.Of(tried);

        // What the plan takes of what the network takes, in turn.
        double Measured(RemovalPlan tried) => Latency.Ratio(graph, tried, batch);
    }

    private void Progress(int done, int all)
    {
        if (done == 1) log($"measuring the times of steps on this machine, on {all} versions of the network; once");
    }

    private static Tensor Repeated(Tensor images, int count)
    {
        Tensor all = Tensor.Unscoped(images.Shape.With(0, count));
        int size = (int)(images.Length / images.Shape[0]);
        for (int i = 0; i < count; i++) images.Span.Slice(i % images.Shape[0] * size, size).CopyTo(all.Span[(i * size)..]);
        return all;
    }
}
