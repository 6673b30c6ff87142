using Espalier.Benchmarking;
using Espalier.Compression;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

/// <summary>How long one image takes in inference, before and after.</summary>
internal static class CompressTiming
{
    private static readonly TimeSpan BurstTime = TimeSpan.FromSeconds(0.3);

    /// <summary>Median milliseconds of one image through each, quick passes in bursts, the two in turn.</summary>
    public static (double First, double Second) MillisecondsInTurn(TemporaryModel first, Model second, CompressionJob job)
    {
        using Session before = Session.Open(first.Path), after = second.Session();
        using var scope = new Scope();
        float[] image = job.Example(1).ToArray();
        IReadOnlyList<long[]> samples = new Rounds { MinTime = BurstTime }.Measure(Pass(before, image), Pass(after, image));
        return (Median(samples[0]), Median(samples[1]));

        static double Median(long[] nanoseconds) => SampleStatistics.Of(nanoseconds).P50 / 1e6;
    }

    private static Action Pass(Session session, float[] image)
    {
        float[] logits = new float[session.NumClasses];
        return () => session.Run(image, 1, logits);
    }
}
