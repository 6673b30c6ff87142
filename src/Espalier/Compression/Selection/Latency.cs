using Espalier.Benchmarking;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>How long a network takes in inference with a plan carried out: measured, on this machine, and undone again.</summary>
internal static class Latency
{
    /// <summary>A search asks often: no longer warm-up than it takes to touch the weights.</summary>
    private static readonly Rounds Few = new() { WarmUp = 2, SettleTime = TimeSpan.Zero, Repeats = 7 };

    /// <summary>Median milliseconds of one pass over <paramref name="images"/>; the network itself for an empty plan.</summary>
    public static double Of(Graph network, DependencyGraph graph, RemovalPlan plan, Tensor images)
    {
        using IDisposable? smaller = plan.Count == 0 ? null : Removal.Try(graph, plan);
        return Of(network, images);
    }

    /// <summary>Median milliseconds of one pass over <paramref name="images"/> of the network as it is.</summary>
    public static double Of(Graph network, Tensor images)
    {
        using var session = new Session(network, new SessionOptions { TriesThreads = false });
        int count = images.Shape[0];
        float[] pixels = images.ToArray(), logits = new float[count * session.NumClasses];
        return SampleStatistics.Of(Few.Measure(() => session.Run(pixels, count, logits))[0]).P50 / 1e6;
    }
}
