using System.Diagnostics;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>A smaller network's time, as it was predicted and as it was.</summary>
/// <param name="Predicted">Seconds of a call.</param>
/// <param name="Measured">Seconds of a call of a session, brought to the speed that the machine had when the whole network was
/// predicted, by what the whole network takes at the time.</param>
public readonly record struct BlindTime(double Predicted, double Measured)
{
    public double Error => Predicted / Measured - 1;
}

/// <summary>How far predictions are off, as shares of what was measured.</summary>
/// <param name="Median">Of the errors with their sign.</param>
/// <param name="Typical">The median of what errors are without it.</param>
/// <param name="P95">Which of twenty errors nineteen stay below, at least (by nearest rank).</param>
public sealed record BlindErrors(int Count, double Median, double Typical, double P95, double Worst)
{
    public static BlindErrors Of(IEnumerable<double> errors)
    {
        double[] signed = [.. errors.Order()], sizes = [.. signed.Select(Math.Abs).Order()];
        if (sizes.Length == 0) throw new ArgumentException("there are no errors to sum up", nameof(errors));
        return new BlindErrors(sizes.Length, Middle(signed), Middle(sizes), sizes[(int)Math.Ceiling(0.95 * sizes.Length) - 1], sizes[^1]);
    }

    private static double Middle(double[] sorted) => (sorted[sorted.Length / 2] + sorted[(sorted.Length - 1) / 2]) / 2;
}

/// <summary>
/// Tries predictions on smaller networks that nothing was measured of: each is predicted, then cut, compiled and timed, in turn with
/// the whole network.
/// </summary>
public static class BlindTest
{
    private const int FewestCalls = 24;
    private static readonly TimeSpan Least = TimeSpan.FromMilliseconds(150);

    /// <param name="times">What was measured for it before stays as it is.</param>
    /// <param name="groups">Channels that go: of each group any number, so that an eighth stays at least.</param>
    /// <param name="count">Networks to try.</param>
    /// <param name="first">How many of them an earlier run has tried: the others follow.</param>
    public static IEnumerable<BlindTime> Run(DependencyGraph graph, NetworkTimes times, IReadOnlyList<ChannelGroup> groups, int count,
        ulong seed = 77, int first = 0)
    {
        Graph network = graph.Network;
        using var whole = new Session(network, new SessionOptions { TriesThreads = times.Batch > 1 });
        double expected = times.Of();
        var rng = new Rng(seed);
        for (int i = 0; i < count; i++)
        {
            var plan = new RemovalPlan();
            foreach (ChannelGroup group in groups)
            {
                int least = NetworkTimes.Least(group);
                NetworkTimes.Remove(plan, group, least + rng.NextInt(group.Count - least + 1));
            }
            if (plan.Count == 0 || first-- > 0) continue;
            double predicted = times.Of(plan);
            Session small;
            using (Removal.Try(graph, plan)) small = new Session(network, new SessionOptions { TriesThreads = times.Batch > 1 });
            using (small)
            {
                var (part, all) = Measure(small, whole, network.Inputs[0].Shape, times.Batch);
                yield return new BlindTime(predicted, part * expected / all);
            }
        }
    }

    /// <summary>The fastest calls of two sessions that take turns.</summary>
    private static (double Small, double Whole) Measure(Session small, Session whole, Shape image, int batch)
    {
        float[] images = new float[image.With(0, batch).Length], results = new float[batch * whole.ResultValues];
        var rng = new Rng(3);
        foreach (ref float x in images.AsSpan()) x = rng.NextFloat(-1, 1);
        double part = double.MaxValue, all = double.MaxValue;
        long started = Stopwatch.GetTimestamp();
        for (int i = 0; i < FewestCalls || Stopwatch.GetElapsedTime(started) < Least; i += 4)
        {
            for (int call = 0; call < 4; call++) part = Math.Min(part, Time(small));
            for (int call = 0; call < 4; call++) all = Math.Min(all, Time(whole));
        }
        return (part, all);

        double Time(Session session)
        {
            long before = Stopwatch.GetTimestamp();
            session.Run(images, batch, results);
            return Stopwatch.GetElapsedTime(before).TotalSeconds;
        }
    }
}
