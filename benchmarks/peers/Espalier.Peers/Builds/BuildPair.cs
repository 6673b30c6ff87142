using System.Text.Json.Nodes;

namespace Espalier.Peers;

/// <summary>The workers of two builds in one run, each started at its first use. Figures are [rounds][old, new].</summary>
internal sealed class BuildPair(Build old, Build current, BenchSettings settings, ModelFolder models) : IDisposable
{
    // Two builds may round differently; what is far beyond that is another computation, whose time says nothing.
    private const double Fp32Bar = 1e-3, LowPrecisionBar = 5e-2;

    private readonly Dictionary<string, Peer> workers = [];

    public ModelFolder Models => models;

    /// <summary>Seconds a call of one model that both builds have loaded.</summary>
    /// <param name="task">As the worker's request "load" has it.</param>
    /// <param name="options">What the task needs besides; null for nothing.</param>
    /// <param name="avx2">Whether the processes may not use AVX-512.</param>
    /// <exception cref="EspalierException">A build cannot do it, or their answers differ.</exception>
    public double[][] Seconds(ModelFiles model, string task, int batch, JsonObject? options = null, bool avx2 = false)
    {
        using Side first = Load(old), second = Load(current);
        // Agents that keep a share rank tokens: where two are nearly equal, rounding decides, and the rest is another image's.
        if (task == "infer" && options?["keepShare"] is null)
        {
            double bar = options?["precision"] is null ? Fp32Bar : LowPrecisionBar;
            double difference = Agreement.Relative(second.Output(), first.Output());
            if (!(difference <= bar)) throw new EspalierException($"the builds' logits differ by {Units.Small(difference)}");
        }
        return Interleave.Run(settings.Rounds, settings.WarmUps, settings.WindowSeconds, first, second).Figures;

        Side Load(Build build) =>
            new(Worker(build, avx2), model, build.Weights(model), task, batch, settings.Threads, options);
    }

    /// <summary>Fresh processes that predict once, on files that the system has in memory: seconds from their start to the
    /// answer, and their peak memory in kilobytes.</summary>
    public (double[][] Seconds, double[][] Peak) FirstPrediction(ModelFiles model, int batch)
    {
        List<double>[] peaks = [[], []];
        Lane[] lanes = [Lane(old, peaks[0]), Lane(current, peaks[1])];
        double[][] seconds = Interleave.Run(settings.Rounds, settings.WarmUps, 0, lanes).Figures;
        // The first ones are of the warm-up.
        return (seconds, [.. seconds.Select((_, round) => peaks.Select(p => p[^(seconds.Length - round)]).ToArray())]);

        Lane Lane(Build build, List<double> peaks) => new(build.Name, _ =>
        {
            var (line, took) = build.Role("first", build.Weights(model), model.Input, batch.ToString()).RunToEnd();
            peaks.Add((double)JsonNode.Parse(line)!["peak"]!);
            CpuClock.Rest();
            return took;
        });
    }

    public void Dispose()
    {
        foreach (Peer worker in workers.Values) worker.Dispose();
    }

    private Peer Worker(Build build, bool avx2)
    {
        string name = build.Name + (avx2 ? ", AVX2" : "");
        if (workers.TryGetValue(name, out Peer? worker)) return worker;
        ChildProcess child = build.Role("serve");
        return workers[name] = Peer.Start(name, avx2 ? Programs.WithoutAvx512(child) : child);
    }
}
