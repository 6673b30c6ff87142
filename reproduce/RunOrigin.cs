using System.Text.Json;
using System.Text.Json.Serialization;
using Espalier.Benchmarking;
using Espalier.Formats;
using Espalier.Tensors.Threading;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>A process that worked on a run, as far as it decides which numbers come out.</summary>
/// <param name="Build">Version and commit.</param>
internal sealed record RunOrigin(int Threads, string Build)
{
    /// <summary>Written when work on a run begins or goes on: what came to an end earlier, or in another process, is kept.</summary>
    public static void Note(string folder, string name)
    {
        Directory.CreateDirectory(folder);
        RunOrigin[] before = Read(folder, name) ?? [];
        MachineInfo machine = MachineInfo.Collect();
        var now = new RunOrigin(Workers.Threads, machine.Commit is null ? machine.Version : $"{machine.Version}+{machine.Commit}");
        if (before.Length > 0 && before[^1] == now) return;
        AtomicFile.Write(PathOf(folder, name), stream =>
            JsonSerializer.Serialize(stream, [.. before, now], RunOriginJson.Default.RunOriginArray));
    }

    /// <summary>Whether no step of a run of `train` is still to be done.</summary>
    public static bool IsDone(RunFolder run, long steps) =>
        File.Exists(run.Model) && TrainingHistory.Read(run.History) is [.., var last] && last.Step == steps;

    /// <summary>What made some runs, as a sentence or some.</summary>
    public static string Sentence(string folder, IEnumerable<string> names)
    {
        (string? Way, int Count)[] ways = [.. names.GroupBy(n => Said(Read(folder, n))).Select(g => (g.Key, g.Count()))
            .OrderBy(w => w.Key is null)];
        string all = ways switch
        {
            [] => "",
            [(null, _)] => "By how many threads the runs were made is not kept.",
            [var (way, count)] => $"{Runs(count)} made by {way}.",
            _ => $"{Runs(ways.Sum(w => w.Count))} made: "
                + string.Join("; ", ways.Select(w => $"{w.Count} by {w.Way ?? "processes of which nothing is kept"}")) + ".",
        };
        return all.Length == 0 ? "" : $"{all} Another number of threads rounds sums differently.";

        static string Runs(int count) => count == 1 ? "The run was" : $"The {count} runs were";
    }

    private static string? Said(RunOrigin[]? all) => all is not { Length: > 0 } ? null
        : string.Join(", then ", all.Select(o => $"{o.Threads} thread{(o.Threads == 1 ? "" : "s")} of {o.Build}"));

    private static RunOrigin[]? Read(string folder, string name)
    {
        string path = PathOf(folder, name);
        RunOrigin?[]? all = RecordFile.Read(path, RunOriginJson.Default.RunOriginArray);
        return all is null ? null
            : [.. all.Select(o => o is { Threads: > 0 } ? o : throw RecordFile.Damaged(path, "one of its processes is none"))];
    }

    private static string PathOf(string folder, string name) => Path.Combine(folder, name + ".made.json");
}

[JsonSourceGenerationOptions(WriteIndented = true, RespectRequiredConstructorParameters = true, RespectNullableAnnotations = true)]
[JsonSerializable(typeof(RunOrigin[]))]
internal sealed partial class RunOriginJson : JsonSerializerContext;
