using System.Globalization;
using System.Text;
using System.Text.Json;
using Espalier.Benchmarking;

namespace Espalier.Peers;

/// <summary>Puts the results into docs/performance.md, between its two markers; what is around them is written by hand.</summary>
internal static class PerformancePage
{
    private const string Begin = "<!-- results begin -->", End = "<!-- results end -->";

    public static Dictionary<string, string> ReadReasons(string path) =>
        JsonSerializer.Deserialize<Dictionary<string, string>>(File.ReadAllText(path))!;

    /// <summary>The results as Markdown: where and when, then the tables.</summary>
    public static string Results(IReadOnlyList<RowResult> rows, IReadOnlyDictionary<string, string> reasons, Bench bench, TimeSpan took)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{DateTime.UtcNow:yyyy-MM-dd}, commit {Revision.Current()}, {MachineInfo.Collect().Cpu}, ");
        text.Append(CultureInfo.InvariantCulture, $"{bench.Settings.Threads} threads of {Environment.ProcessorCount} processors. ");
        text.Append(string.Join("; ", bench.Versions)).Append(". ");
        foreach (var (kernel, peak) in bench.Peaks) text.Append($"FMA peak ({kernel}) {Units.Gflops(peak)}. ");
        text.Append(CultureInfo.InvariantCulture, $"Medians of {bench.Settings.Rounds} rounds; {took.TotalMinutes:0.0} minutes in all.\n\n");
        int pass = rows.Count(r => r.Verdict == Verdict.Pass), shortOf = rows.Count(r => r.Verdict == Verdict.FallsShort);
        text.Append($"{pass} rows pass, {shortOf} fall short.\n\n");
        return text.Append(ResultsTable.Markdown(rows, reasons)).ToString();
    }

    /// <exception cref="EspalierException">The page has no markers.</exception>
    public static void Write(string page, string results)
    {
        string text = File.ReadAllText(page);
        int begin = text.IndexOf(Begin, StringComparison.Ordinal), end = text.IndexOf(End, StringComparison.Ordinal);
        if (begin < 0 || end < begin) throw new EspalierException($"{page}: the lines {Begin} and {End} are missing; put them back");
        File.WriteAllText(page, $"{text[..(begin + Begin.Length)]}\n\n{results.TrimEnd()}\n\n{text[end..]}");
    }
}
