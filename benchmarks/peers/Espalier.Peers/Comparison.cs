using System.Diagnostics;
using System.Text.Json.Nodes;
using Espalier.Benchmarking;

namespace Espalier.Peers;

/// <summary>Runs the trials one after another, prints each row as it comes, and writes page and samples at the end.</summary>
internal static class Comparison
{
    /// <param name="filter">Null for all trials.</param>
    /// <param name="page">The Markdown page to write the results into, or null.</param>
    public static int Run(BenchSettings settings, string? filter, string? page)
    {
        long start = Stopwatch.GetTimestamp();
        using var bench = new Bench(settings, Console.WriteLine);
        var rows = new List<RowResult>();
        foreach (Trial trial in AllTrials.Get().Where(t => Matches(t, filter, settings.Quick)))
        {
            foreach (RowResult row in RunOne(trial, bench))
            {
                rows.Add(row);
                Console.WriteLine($"{Stopwatch.GetElapsedTime(start).TotalSeconds,5:0} s  {ResultsTable.Line(row)}");
            }
        }
        TimeSpan took = Stopwatch.GetElapsedTime(start);
        var reasons = PerformancePage.ReadReasons(Path.Combine(settings.Scripts, "reasons.json"));
        string results = PerformancePage.Results(rows, reasons, bench, took);
        Console.WriteLine();
        Console.WriteLine(results);
        WriteSamples(bench, rows);
        if (page is not null) PerformancePage.Write(page, results);
        return rows.Count > 0 ? 0 : 1;
    }

    /// <summary>What is asked for by name runs, in a quick run too.</summary>
    private static bool Matches(Trial trial, string? filter, bool quick) => filter is null
        ? trial.Quick || !quick
        : $"{trial.Section}: {trial.Name}".Contains(filter, StringComparison.OrdinalIgnoreCase);

    /// <summary>A trial that cannot run here gives a row that says why, and the others go on.</summary>
    private static IEnumerable<RowResult> RunOne(Trial trial, Bench bench)
    {
        try
        {
            return [.. trial.Run(bench)];
        }
        catch (EspalierException e)
        {
            return [RowResult.NotAvailable(trial.Section, trial.Name, e.Message)];
        }
    }

    private static void WriteSamples(Bench bench, List<RowResult> rows)
    {
        var file = new JsonObject
        {
            ["date"] = DateTime.UtcNow.ToString("O"),
            ["commit"] = Revision.Current(),
            ["processor"] = MachineInfo.Collect().Cpu,
            ["versions"] = new JsonArray([.. bench.Versions.Select(v => JsonValue.Create(v))]),
            ["rows"] = new JsonArray([.. rows.Select(r => new JsonObject
            {
                ["section"] = r.Section, ["name"] = r.Name, ["ours"] = r.Ours, ["theirs"] = r.Theirs, ["figure"] = r.Figure,
                ["aim"] = r.Aim, ["verdict"] = r.Verdict.ToString(),
            })]),
            ["samples"] = bench.Samples.DeepClone(),
        };
        File.WriteAllText(Path.Combine(bench.Settings.Work, "samples.json"), file.ToJsonString());
    }
}
