using System.Globalization;

namespace Espalier.Serving;

/// <summary>The table of docs/serving.md: a line a model, which a run puts in the place of the last one's.</summary>
internal static class ServingPage
{
    private const string Begin = "<!-- figures -->", End = "<!-- /figures -->";

    public static void Write(string path, string model, LoadFigures f)
    {
        string page = File.ReadAllText(path);
        int first = page.IndexOf(Begin, StringComparison.Ordinal), last = page.IndexOf(End, StringComparison.Ordinal);
        if (first < 0 || last < first) throw new InvalidOperationException($"{path}: no place between {Begin} and {End}");
        string[] lines = [.. page[(first + Begin.Length)..last].Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Where(l => !l.StartsWith($"| {model} |", StringComparison.Ordinal)), Line(model, f)];
        File.WriteAllText(path, page[..first] + Begin + "\n" + string.Join('\n', lines) + "\n" + page[last..]);
    }

    private static string Line(string model, LoadFigures f) => string.Create(CultureInfo.InvariantCulture,
        $"| {model} | {1e3 * f.Single:0.00} | {f.Capacity:0} | {f.MeanBatch:0.0} | {f.Half.P50 / 1e6:0.00} | {f.Half.P99 / 1e6:0.00} "
        + $"| {f.Half.P99 / 1e9 / f.Single:0.0} | {f.Malformed} of 1,000 | {f.Answered} + {f.Refused} "
        + $"| {string.Join(", ", f.Memory.Select(m => m.ToString("0", CultureInfo.InvariantCulture)))} |");
}
