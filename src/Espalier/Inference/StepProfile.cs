using System.Diagnostics;
using Espalier.Benchmarking;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Inference;

/// <summary>Times each layer of a network where it stands: between the others, with the caches as they leave them.</summary>
internal static unsafe class StepProfile
{
    /// <summary>Runs of a window at least, and seconds; and windows at most.</summary>
    private const int FewestRuns = 5, MostWindows = 8;

    private const double LeastSeconds = 0.02;

    /// <summary>What a whole pass may take of what its layers take.</summary>
    private const double MostOfLayers = 1.1;

    /// <summary>What a window finds faster than those before it, for another to be worth it.</summary>
    private const double Faster = 0.98;

    /// <summary>The fastest of some runs, of each layer and of all together: other programs make runs slower, never faster. Runs go on
    /// until a window of them finds nothing faster, since a busy machine may disturb all of one.</summary>
    /// <param name="images">Images at a time.</param>
    /// <param name="alone">Whether one thread does it all; else steps are shared by all threads.</param>
    /// <returns>Seconds; of all together hardly more than of the layers: a whole pass is more easily disturbed than each of them.</returns>
    public static (double[] Layers, double All) Measure(Plan plan, int images, bool alone)
    {
        using Workers.AloneBlock block = alone ? Workers.Alone() : default;
        using var scope = new Scope();
        using var lane = new Lane(plan.Axes, images);
        var memory = new Tensor(new Shape(checked((int)(plan.FloatsPerImage * images))));
        var pixels = new Tensor(new Shape(checked((int)(plan.InputValues * images))));
        var results = new Tensor(new Shape(checked((int)(plan.OutputValues.Sum() * images))));
        memory.Fill(0);
        var rng = new Rng(1);
        foreach (ref float x in pixels.Span) x = rng.NextFloat(-1, 1);
        var least = new long[plan.Shapes.Length];
        Array.Fill(least, long.MaxValue);
        long all = long.MaxValue;
        double known = double.MaxValue;
        for (int window = 0; window < MostWindows; window++)
        {
            long started = Stopwatch.GetTimestamp();
            for (int run = 0; run < FewestRuns || Stopwatch.GetElapsedTime(started).TotalSeconds < LeastSeconds; run++)
            {
                lane.Begin(memory.Data, images, KeepRule.All, null, 0);
                plan.RunTimed(lane, pixels.Data, results.Data, least);
                lane.Begin(memory.Data, images, KeepRule.All, null, 0);
                long before = Stopwatch.GetTimestamp();
                plan.Run(lane, pixels.Data, results.Data, 0, images);
                all = Math.Min(all, Stopwatch.GetTimestamp() - before);
            }
            double now = least.Sum(t => (double)t) + all;
            if (now >= Faster * known) break;
            known = now;
        }
        double[] layers = Array.ConvertAll(least, t => (double)t / Stopwatch.Frequency);
        return (layers, Math.Min((double)all / Stopwatch.Frequency, MostOfLayers * layers.Sum()));
    }

    /// <summary>Runs until no run is faster than those before and nothing is compiled any more.</summary>
    public static void Settle(Plan plan, int images, bool alone) =>
        new Rounds { SettleTime = TimeSpan.FromSeconds(0.4) }.Settle([new TimedWork(() => Measure(plan, images, alone))]);

    /// <summary>Weights of about the size that keeps activations as they are, for those that are shapes only.</summary>
    public static void Fill(GraphValue weight, Span<float> values)
    {
        Shape shape = weight.Shape;
        if (shape.Rank < 2)
        {
            values.Fill(1);
            return;
        }
        float width = MathF.Sqrt(3f * shape[0] / Math.Max(1, shape.Length));
        var rng = new Rng((ulong)shape.Length);
        foreach (ref float x in values) x = rng.NextFloat(-width, width);
    }
}
