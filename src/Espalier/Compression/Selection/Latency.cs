using System.Diagnostics;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>How long a network takes with a plan carried out: measured, on this machine, and undone again.</summary>
internal static class Latency
{
    private const int WarmUp = 2, Passes = 7;

    /// <summary>Median milliseconds of one pass over <paramref name="images"/>; the network itself for an empty plan.</summary>
    public static double Of(ImageClassifier net, DependencyGraph graph, RemovalPlan plan, Tensor images)
    {
        using IDisposable? smaller = plan.Count == 0 ? null : Removal.Try(graph, plan);
        bool training = net.Training;
        net.Training = false;
        try
        {
            var times = new double[Passes];
            for (int pass = -WarmUp; pass < Passes; pass++)
            {
                using var scope = new Scope();
                long start = Stopwatch.GetTimestamp();
                net.Forward(images);
                if (pass >= 0) times[pass] = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            }
            Array.Sort(times);
            return times[Passes / 2];
        }
        finally
        {
            net.Training = training;
        }
    }
}
