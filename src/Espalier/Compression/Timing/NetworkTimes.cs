using System.Security.Cryptography;
using System.Text;
using Espalier.Inference;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Compression;

/// <summary>
/// How long a network takes with a plan carried out, from a <see cref="TimeTable"/>: the sum over its layers, times what the whole
/// takes more than its parts. Nothing is cut for that. What the table lacks is measured on some smaller versions of the network first,
/// whose widths cover those that plans may leave.
/// </summary>
public sealed class NetworkTimes
{
    /// <summary>Smaller versions that are measured, besides the network itself and its smallest.</summary>
    private const int Versions = 22;

    /// <summary>Points of a family that are enough, of those that have as many.</summary>
    private const int EnoughPoints = 10;

    /// <summary>How many times longer than it is the network may be said to take, and seconds that a clock may be off: a fastest run
    /// is never too fast, so that times that are too short need no doubt.</summary>
    private const double Doubtful = 1.2, Grain = 2e-5;

    private readonly DependencyGraph graph;
    private readonly TimeTable table;
    private readonly IReadOnlyList<ChannelGroup> groups;
    private readonly int batch, threads;

    /// <param name="groups">Those that may lose channels.</param>
    /// <param name="batch">Images of a call.</param>
    public NetworkTimes(DependencyGraph graph, TimeTable table, IReadOnlyList<ChannelGroup> groups, int batch = 1)
    {
        (this.graph, this.table, this.groups, this.batch, threads) = (graph, table, groups, batch, Workers.Threads);
    }

    /// <summary>Images of a call.</summary>
    public int Batch => batch;

    /// <summary>Measures what the table lacks and keeps it there; and again what it has, where the network now is much faster than that
    /// says: then it was measured on a busy machine.</summary>
    /// <param name="progress">Gets the versions that were measured and how many there are.</param>
    /// <param name="log">Gets a line where the table is not believed.</param>
    /// <returns>Whether anything was measured.</returns>
    public bool Measure(Action<int, int>? progress = null, CancellationToken cancel = default, Action<string>? log = null)
    {
        if (IsKnown())
        {
            double said = Of(), takes = Now();
            if (said <= Doubtful * takes + Grain) return false;
            log?.Invoke(FormattableString.Invariant($"step times: they say {1e3 * said:0.000} ms of the network, which takes ")
                + FormattableString.Invariant($"{1e3 * takes:0.000}: they were taken on a busy machine and are taken again"));
            return Again(progress, cancel);
        }
        return MeasureAll(progress, cancel);
    }

    /// <summary>Measures all again, whatever the table has of this network.</summary>
    /// <inheritdoc cref="Measure" path="/param"/>
    internal bool Again(Action<int, int>? progress = null, CancellationToken cancel = default)
    {
        PlanShape shape = ShapeNow();
        table.Forget(Ways(shape).SelectMany(w => shape.Layers.Select(l => Name(l, w)).Append(Whole(shape, w))));
        return MeasureAll(progress, cancel);
    }

    /// <summary>Adds to what the table has.</summary>
    private bool MeasureAll(Action<int, int>? progress, CancellationToken cancel)
    {
        var rng = new Rng(11);
        // The network itself is timed beside each: the machine's speed drifts.
        using var whole = new Plan(graph.Network, Precision.Fp32, StepProfile.Fill);
        Way way = Ways(ShapeNow())[0];
        StepProfile.Settle(whole, way.Images, way.Alone);
        double fastest = StepProfile.Measure(whole, way.Images, way.Alone).All;
        for (int version = 0; version < Versions + 2; version++)
        {
            cancel.ThrowIfCancellationRequested();
            RemovalPlan plan = version == 0 ? new RemovalPlan() : version == 1 ? Smallest() : Some(ref rng);
            using (Removal.TryShapes(graph, plan)) MeasureNow(() => fastest / StepProfile.Measure(whole, way.Images, way.Alone).All);
            progress?.Invoke(version + 1, Versions + 2);
        }
        table.Save();
        return true;
    }

    /// <summary>Seconds of a call with a plan carried out, measured now.</summary>
    /// <param name="plan">Null for the network as it is.</param>
    internal double Now(RemovalPlan? plan = null)
    {
        using (Removal.TryShapes(graph, plan ?? new RemovalPlan()))
        {
            using var part = new Plan(graph.Network, Precision.Fp32, StepProfile.Fill);
            return Ways(ShapeNow()).Min(way =>
            {
                StepProfile.Settle(part, way.Images, way.Alone);
                return way.Rounds * StepProfile.Measure(part, way.Images, way.Alone).All;
            });
        }
    }

    /// <summary>Seconds of a call, the fastest that it takes.</summary>
    /// <param name="plan">Null for the network as it is.</param>
    public double Of(RemovalPlan? plan = null)
    {
        using (Removal.TryShapes(graph, plan ?? new RemovalPlan()))
        {
            PlanShape shape = ShapeNow();
            return Ways(shape).Min(way => way.Rounds * Of(shape, way));
        }
    }

    private double Of(PlanShape shape, Way way)
    {
        double sum = shape.Layers.Sum(layer => table.Family(Name(layer, way)).Of(Point(layer, way)));
        return table.Family(Whole(shape, way)).Of(new TimePoint(1, Ticks(sum), 0, 0));
    }

    internal bool IsKnown()
    {
        PlanShape whole = ShapeNow();
        return Ways(whole).All(way => table.Family(Whole(whole, way)).Points.Count >= EnoughPoints
            && whole.Layers.All(layer => IsCovered(table.Family(Name(layer, way)).Points.Keys, layer)));
    }

    /// <summary>Whether no width lies beyond those that were measured.</summary>
    private static bool IsCovered(IEnumerable<TimePoint> points, StepShape layer)
    {
        var (a, b, c) = (-1, -1, -1);
        foreach (TimePoint p in points) (a, b, c) = (Math.Max(a, p.A), Math.Max(b, p.B), Math.Max(c, p.C));
        return a >= layer.A && b >= layer.B && c >= layer.C;
    }

    private PlanShape ShapeNow() => Plan.ShapeOf(graph.Network, Precision.Fp32, StepProfile.Fill);

    /// <param name="speed">How fast the machine is now, of how fast it was at first.</param>
    private void MeasureNow(Func<double> speed)
    {
        using var plan = new Plan(graph.Network, Precision.Fp32, StepProfile.Fill);
        PlanShape shape = ShapeNow();
        foreach (Way way in Ways(shape))
        {
            double before = speed();
            var (layers, all) = StepProfile.Measure(plan, way.Images, way.Alone);
            double now = Math.Max(before, speed());
            for (int i = 0; i < layers.Length; i++)
                table.Family(Name(shape.Layers[i], way)).Add(Point(shape.Layers[i], way), layers[i] * now);
            table.Family(Whole(shape, way)).Add(new TimePoint(1, Ticks(layers.Sum() * now), 0, 0), all * now);
        }
    }

    /// <summary>The two ways in which a session may run a call: it takes the faster.</summary>
    private Way[] Ways(PlanShape shape)
    {
        var (shared, chunk, rounds) = Scheduler.Pieces(shape.FloatsPerImage, shape.WeightBytes, shape.Tokens, batch, threads);
        Way together = new(shared, Alone: threads == 1, (double)batch / shared), each = new(chunk, Alone: true, rounds);
        // One thread has the same two, larger and smaller pieces.
        return batch == 1 ? [together] : together == each ? [each] : [together, each];
    }

    /// <summary>Times of one number of images say nothing of another: what goes with images and what does not cannot be told apart
    /// where they never differ.</summary>
    private string Name(StepShape layer, Way way) => $"{(way.Alone ? 1 : threads)} threads, {way.Images} images: {layer.Family}";

    /// <summary>What a whole takes more than its parts is of networks of the same layers.</summary>
    private string Whole(PlanShape shape, Way way)
    {
        byte[] families = Encoding.UTF8.GetBytes(string.Join('\n', shape.Layers.Select(l => l.Family)));
        return $"{(way.Alone ? 1 : threads)} threads, {way.Images} images: {Convert.ToHexStringLower(SHA256.HashData(families))[..8]}, "
            + $"{shape.Layers.Length} layers";
    }

    private static TimePoint Point(StepShape layer, Way way) => new(way.Images, layer.A, layer.B, layer.C);

    /// <summary>Tenths of a microsecond: enough for calls of three minutes.</summary>
    private static int Ticks(double seconds) => (int)Math.Min(int.MaxValue, seconds * 1e7);

    private RemovalPlan Smallest()
    {
        var plan = new RemovalPlan();
        foreach (ChannelGroup group in groups) Remove(plan, group, Least(group));
        return plan;
    }

    /// <summary>Widths by chance, as many narrow ones as wide ones by ratio.</summary>
    private RemovalPlan Some(ref Rng rng)
    {
        var plan = new RemovalPlan();
        foreach (ChannelGroup group in groups)
        {
            double least = Least(group), kept = least * Math.Pow(group.Count / least, rng.NextDouble());
            Remove(plan, group, (int)Math.Round(kept));
        }
        return plan;
    }

    /// <summary>Channels of a group that stay at least.</summary>
    internal static int Least(ChannelGroup group) => Math.Max(1, group.Count / 8);

    /// <summary>Lets a group keep so many channels, its first.</summary>
    internal static void Remove(RemovalPlan plan, ChannelGroup group, int kept)
    {
        if (kept < group.Count) plan.Add(group, Enumerable.Range(kept, group.Count - kept));
    }

    /// <param name="Images">At a time.</param>
    /// <param name="Alone">Whether by one thread, of which each does as much; else by all threads together.</param>
    /// <param name="Rounds">How many times.</param>
    private readonly record struct Way(int Images, bool Alone, double Rounds);
}
