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
    public static string Results(
        IReadOnlyList<RowResult> rows, IReadOnlyDictionary<string, string> reasons, Bench bench, TimeSpan took)
    {
        int pass = rows.Count(r => r.Verdict == Verdict.Pass), shortOf = rows.Count(r => r.Verdict == Verdict.FallsShort);
        int missing = rows.Count(r => r.Verdict == Verdict.NotAvailable);
        var text = new StringBuilder();
        text.Append($"- {DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture)}, commit {Revision.Current()}\n");
        MachineInfo machine = MachineInfo.Collect();
        text.Append($"- {machine.Cpu}, {bench.Settings.Threads} threads of {machine.Cores} processors");
        foreach (var (kernel, peak) in bench.Peaks) text.Append($"; FMA peak ({kernel}) {Units.Gflops(peak)}");
        text.Append($"\n- {string.Join("; ", bench.Versions)}\n");
        text.Append($"- {bench.Settings.Rounds} rounds, {Units.Two(took.TotalMinutes)} minutes in all\n\n");
        text.Append($"{pass} rows pass, {shortOf} fall short{(missing == 0 ? "" : $", {missing} not available")}.\n\n");
        return text.Append(ResultsTable.Markdown(rows, reasons)).ToString();
    }

    /// <exception cref="EspalierException">The page has no markers.</exception>
    public static void Write(string page, string results)
    {
        string text = File.ReadAllText(page);
        int begin = text.IndexOf(Begin, StringComparison.Ordinal), end = text.IndexOf(End, StringComparison.Ordinal);
        if (begin < 0 || end < begin)
            throw new EspalierException($"{page}: the lines {Begin} and {End} are missing; put them back");
        File.WriteAllText(page, $"{text[..(begin + Begin.Length)]}\n\n{results.TrimEnd()}\n\n{text[end..]}");
    }
}
