using System.Globalization;
using System.Text;
using System.Text.Json;
using Espalier.Cli.Running;

namespace Espalier.Cli.Display;

/// <summary>Writes the results of `bench` for programs and for documents.</summary>
internal static class BenchWriter
{
    public static string Csv(BenchReport report)
    {
        BenchColumn[] columns = [.. BenchColumn.Machine, .. BenchColumn.Result];
        var text = new StringBuilder().AppendJoin(',', columns.Select(c => c.Name)).Append('\n');
        foreach (BenchResult r in report.Results)
            text.AppendJoin(',', columns.Select(c => Quoted(c.Text(report, r)))).Append('\n');
        return text.ToString();
    }

    /// <summary>One object: the machine, and the list of results.</summary>
    public static string Json(BenchReport report) => Write(indented: true, json =>
    {
        json.WriteStartObject();
        json.WriteStartObject("machine");
        json.WriteString("cpu_info", report.Machine.Cpu);
        json.WriteNumber("cores", report.Machine.Cores);
        json.WriteString("os", report.Machine.Os);
        json.WriteString("framework", report.Machine.Framework);
        json.WriteString("kernel", report.Machine.Kernel);
        json.WriteString("version", report.Machine.Version);
        if (report.Machine.Commit is { } commit) json.WriteString("build_commit", commit);
        json.WriteStartObject("peak_gflops");
        foreach (var (threads, gflops) in report.Peak) json.WriteNumber($"{threads}", gflops);
        json.WriteEndObject();
        json.WriteEndObject();
        json.WriteStartArray("results");
        foreach (BenchResult r in report.Results) Object(json, [.. BenchColumn.Result, BenchColumn.Samples], report, r);
        json.WriteEndArray();
        json.WriteEndObject();
    }) + "\n";

    /// <summary>One object a line, each with the machine.</summary>
    public static string JsonLines(BenchReport report) => string.Concat(report.Results.Select(r => Write(indented: false, json =>
        Object(json, [.. BenchColumn.Machine, .. BenchColumn.Result, BenchColumn.Samples], report, r)) + "\n"));

    /// <summary>What `table` shows, as Markdown.</summary>
    public static string Markdown(BenchReport report)
    {
        IReadOnlyList<BenchCell> cells = BenchTable.Cells(report);
        var text = new StringBuilder();
        foreach (string line in BenchTable.Header(report)) text.Append(line).Append("  \n");
        text.Append('\n').Append("| ").AppendJoin(" | ", cells.Select(c => c.Heading)).Append(" |\n");
        text.Append("| ").AppendJoin(" | ", cells.Select(c => c.IsText ? "---" : "---:")).Append(" |\n");
        foreach (BenchResult r in report.Results)
            text.Append("| ").AppendJoin(" | ", cells.Select(c => c.Text(r))).Append(" |\n");
        text.Append('\n');
        foreach (string line in BenchTable.Tokens(report)) text.Append(line).Append("  \n");
        return text.ToString();
    }

    private static void Object(Utf8JsonWriter json, IReadOnlyList<BenchColumn> columns, BenchReport report, BenchResult result)
    {
        json.WriteStartObject();
        foreach (BenchColumn column in columns)
        {
            object? value = column.Value(report, result);
            if (value is null) continue;
            json.WritePropertyName(column.Name);
            Value(json, value);
        }
        json.WriteEndObject();
    }

    private static void Value(Utf8JsonWriter json, object value)
    {
        switch (value)
        {
            case string s: json.WriteStringValue(s); break;
            case long n: json.WriteNumberValue(n); break;
            case double d: json.WriteNumberValue(d); break;
            // On one line, however many.
            case long[] list: json.WriteRawValue($"[{string.Join(',', list)}]"); break;
            case double[] list:
                json.WriteRawValue($"[{string.Join(',', list.Select(d => d.ToString("R", CultureInfo.InvariantCulture)))}]");
                break;
            default: throw new ArgumentException($"a field of type {value.GetType()}", nameof(value));
        }
    }

    private static string Write(bool indented, Action<Utf8JsonWriter> write)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = indented })) write(json);
        return Encoding.UTF8.GetString(stream.ToArray());
    }

    /// <summary>As RFC 4180 has it.</summary>
    private static string Quoted(string cell) =>
        cell.AsSpan().ContainsAny(",\"\n") ? $"\"{cell.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : cell;
}
