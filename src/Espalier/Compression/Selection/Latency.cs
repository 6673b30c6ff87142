using Espalier.Benchmarking;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>How long a network takes in inference, measured on this machine.</summary>
internal static class Latency
{
    /// <summary>A search asks often: no longer warm-up than it takes to touch the weights.</summary>
    private static readonly Rounds Few = new() { WarmUp = 2, SettleTime = TimeSpan.Zero, Repeats = 7 };

    /// <summary>Median milliseconds of one pass over <paramref name="images"/> of the network as it is.</summary>
    public static double Of(Graph network, Tensor images)
    {
        using var session = new Session(network, new SessionOptions { TriesThreads = false });
        int count = images.Shape[0];
        float[] pixels = images.ToArray(), logits = new float[count * session.ResultValues];
        return SampleStatistics.Of(Few.Measure(() => session.Run(pixels, count, logits))[0]).P50 / 1e6;
    }
}
