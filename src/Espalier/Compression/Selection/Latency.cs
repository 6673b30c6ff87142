using Espalier.Benchmarking;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>How long a network takes in inference, measured on this machine.</summary>
internal static class Latency
{
    /// <summary>A search asks often: no longer warm-up than it takes to touch the weights.</summary>
    private static readonly Rounds Few = new() { WarmUp = 2, SettleTime = TimeSpan.Zero, Repeats = 7 };

    private static readonly Rounds InTurn = new() { SettleTime = TimeSpan.FromSeconds(0.1), MinTime = TimeSpan.FromSeconds(0.2) };

    /// <summary>Median milliseconds of one pass over <paramref name="images"/> of the network as it is.</summary>
    public static double Of(Graph network, Tensor images)
    {
        using var session = new Session(network, new SessionOptions { TriesThreads = false });
        int count = images.Shape[0];
        float[] pixels = images.ToArray(), logits = new float[count * session.NumClasses];
        return SampleStatistics.Of(Few.Measure(() => session.Run(pixels, count, logits))[0]).P50 / 1e6;
    }

    /// <summary>The fastest pass with a plan carried out, as a share of the fastest of the network as it is, the two in turn.</summary>
    public static double Ratio(DependencyGraph graph, RemovalPlan plan, Tensor images)
    {
        Graph network = graph.Network;
        var options = new SessionOptions { TriesThreads = images.Shape[0] > 1 };
        using var whole = new Session(network, options);
        Session small;
        using (Removal.Try(graph, plan)) small = new Session(network, options);
        using (small)
        {
            int count = images.Shape[0];
            float[] pixels = images.ToArray(), logits = new float[count * whole.NumClasses];
            IReadOnlyList<long[]> samples = InTurn.Measure(() => small.Run(pixels, count, logits), () => whole.Run(pixels, count, logits));
            return (double)samples[0].Min() / samples[1].Min();
        }
    }
}
