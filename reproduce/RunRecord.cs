using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Espalier.Formats;

namespace Espalier.Reproduce;

/// <summary>What came of one run; kept beside its model, so that a finished run is not done again.</summary>
/// <param name="Steps">Optimiser steps that the weights have behind them.</param>
/// <param name="Shape">The same for networks of the same shapes.</param>
/// <param name="Seconds">Of the processor, from where the run was last begun to its end, without measuring; null of older records.</param>
/// <param name="Findings">What the method found out on its way, the mean of each, of differences from masked networks the largest; null of
/// older records.</param>
internal sealed record RunRecord(double Accuracy, long Parameters, double MultiplyAdds, long Steps, string Shape, double? Seconds = null,
    IReadOnlyDictionary<string, double>? Findings = null)
{
    /// <summary>Null where there is none.</summary>
    /// <exception cref="EspalierException">It is damaged, or cannot be read.</exception>
    public static RunRecord? Read(string path)
    {
        if (RecordFile.Read(path, RunRecordJson.Default.RunRecord) is not { } record) return null;
        bool possible = record is { Accuracy: >= 0 and <= 1, Parameters: > 0, MultiplyAdds: > 0, Steps: >= 0, Seconds: null or >= 0 };
        return possible ? record : throw RecordFile.Damaged(path, "one of its numbers is impossible");
    }

    public void Write(string path) => AtomicFile.Write(path, stream =>
        JsonSerializer.Serialize(stream, this, RunRecordJson.Default.RunRecord));

    /// <summary>Mean and sample standard deviation of the accuracy, per cent.</summary>
    public static string Mean(IReadOnlyList<RunRecord> records)
    {
        double[] all = [.. records.Select(r => r.Accuracy)];
        return FormattableString.Invariant($"{100 * all.Average():0.00} ± {100 * Paired.Deviation(all):0.00}");
    }

    /// <summary>The accuracies one by one, per cent.</summary>
    public static string List(IReadOnlyList<RunRecord> records) =>
        string.Join(", ", records.Select(r => FormattableString.Invariant($"{100 * r.Accuracy:0.00}")));

    /// <summary>The columns that tables of smaller networks have in common: name, accuracy, by seed, from scratch, parameters and
    /// multiply-adds, these beside the whole network's.</summary>
    public static string Columns(string name, IReadOnlyList<RunRecord> bySeed, IReadOnlyList<RunRecord>? scratch, RunRecord whole)
    {
        double left = bySeed.Average(e => (double)e.Parameters), work = bySeed.Average(e => e.MultiplyAdds);
        return FormattableString.Invariant($"| {name} | {Mean(bySeed)} | {List(bySeed)} | {(scratch is null ? "" : Mean(scratch))} ")
            + FormattableString.Invariant($"| {left / 1e3:0.0} k ({100 * left / whole.Parameters:0.0} %) ")
            + FormattableString.Invariant($"| {work / 1e6:0.00} M ({100 * work / whole.MultiplyAdds:0.0} %) ");
    }

    /// <summary>A name for the shapes of all tensors.</summary>
    public static string ShapeOf(Model model)
    {
        string all = string.Join(';', model.Graph.ReadWeights().Select(w => $"{w.Name} {w.Shape}"));
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(all)))[..8];
    }
}

[JsonSourceGenerationOptions(WriteIndented = true, RespectRequiredConstructorParameters = true, RespectNullableAnnotations = true)]
[JsonSerializable(typeof(RunRecord))]
internal sealed partial class RunRecordJson : JsonSerializerContext;
