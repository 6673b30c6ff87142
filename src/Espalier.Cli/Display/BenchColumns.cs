using System.Globalization;
using Espalier.Cli.Running;
using Espalier.Tensors.Kernels;

namespace Espalier.Cli.Display;

/// <summary>
/// One field of the machine-readable results. Names are those that users of timm's benchmark.py (infer_*, train_*,
/// param_count) and of llama-bench (cpu_info, avg_ns, stddev_ns, samples_ns) know.
/// </summary>
/// <param name="Value">A string, a double, a long or an array of the two; null where the field has no meaning.</param>
internal sealed record BenchColumn(string Name, Func<BenchReport, BenchResult, object?> Value)
{
    /// <summary>What each row says of the machine, for files in which a row stands for itself.</summary>
    public static IReadOnlyList<BenchColumn> Machine { get; } =
    [
        new("cpu_info", (b, _) => b.Machine.Cpu),
        new("build_commit", (b, _) => b.Machine.Commit),
        new("kernel", (_, r) => KernelInfo.For(r.Case.Precision).Name),
    ];

    public static IReadOnlyList<BenchColumn> Result { get; } =
    [
        new("model", (b, _) => b.Model),
        new("mode", (_, r) => r.Case.Mode == BenchMode.Infer ? "infer" : "train"),
        new("variant", (_, r) => r.Case.Name),
        new("precision", (_, r) => Format.Name(r.Case.Precision)),
        new("threads", (_, r) => (long)r.Case.Threads),
        .. Of("infer", BenchMode.Infer),
        .. Of("train", BenchMode.Train),
        new("param_count", (b, _) => Math.Round(b.Parameters / 1e6, 2)),
        new("avg_ns", (_, r) => r.Time.Mean),
        new("stddev_ns", (_, r) => r.Time.StandardDeviation),
        new("p50_ns", (_, r) => r.Time.P50),
        new("p90_ns", (_, r) => r.Time.P90),
        new("p99_ns", (_, r) => r.Time.P99),
        new("samples", (_, r) => (long)r.Time.Count),
        new("gflops", (_, r) => r.Gflops),
        new("peak_gflops", (_, r) => r.PeakGflops),
        new("peak_share", (_, r) => r.PeakShare),
        new("peak_rss_bytes", (_, r) => r.PeakBytes),
        new("allocated_bytes", (_, r) => r.AllocatedBytes),
        new("forward_equivalents", (_, r) => r.ForwardEquivalents),
        new("tokens", (_, r) => r.Tokens.Length > 0 ? r.Tokens : null),
    ];

    /// <summary>The times themselves; too many for a table.</summary>
    public static BenchColumn Samples { get; } = new("samples_ns", (_, r) => r.Samples);

    /// <summary>The value as a cell of a CSV file.</summary>
    public string Text(BenchReport report, BenchResult result) => Value(report, result) switch
    {
        null => "",
        double[] list => string.Join(' ', list.Select(v => v.ToString("R", CultureInfo.InvariantCulture))),
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        object other => other.ToString()!,
    };

    private static IEnumerable<BenchColumn> Of(string prefix, BenchMode mode)
    {
        yield return Field("samples_per_sec", (_, r) => Math.Round(r.ImagesPerSecond, 2));
        yield return Field("step_time", (_, r) => Math.Round(r.Time.Mean / 1e6, 3));
        yield return Field("batch_size", (_, r) => (long)r.Case.BatchSize);
        yield return Field("img_size", (b, _) => (long)b.ImageSize);
        yield return Field("gmacs", (_, r) => r.MultiplyAdds is { } macs ? Math.Round(macs / 1e9, 4) : null);

        BenchColumn Field(string name, Func<BenchReport, BenchResult, object?> value) =>
            new($"{prefix}_{name}", (b, r) => r.Case.Mode == mode ? value(b, r) : null);
    }
}
