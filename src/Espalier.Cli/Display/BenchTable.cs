using Espalier.Cli.Running;
using Spectre.Console;

namespace Espalier.Cli.Display;

/// <summary>One column of the table for people.</summary>
internal sealed record BenchCell(string Heading, bool IsText, Func<BenchResult, string> Text);

/// <summary>The results of `bench` as a table.</summary>
internal static class BenchTable
{
    /// <summary>Wide enough for every column.</summary>
    private const int FullWidth = 200;

    public static string Plain(BenchReport report)
    {
        var text = new StringWriter();
        Print(new Terminal(text, TextWriter.Null, Interactive: false, FullWidth), report);
        return text.ToString();
    }

    public static void Print(Terminal terminal, BenchReport report)
    {
        // A file or a pipe has no edge that lines could be cut at.
        if (!terminal.Interactive && terminal.Width < FullWidth)
            terminal = new Terminal(terminal.Out, terminal.Error, Interactive: false, FullWidth);
        foreach (string line in Header(report)) terminal.Line(line);
        IReadOnlyList<BenchCell> cells = Cells(report);
        Table table = Tables.New([.. cells.Select(c => c.Heading)]);
        foreach (TableColumn column in table.Columns) column.Padding = new Padding(0, 0, 1, 0);
        foreach (BenchResult r in report.Results) table.Row([.. cells.Select(c => c.Text(r))]);
        terminal.Console.Write(table);
        foreach (string line in Tokens(report)) terminal.Line(line);
    }

    /// <summary>Machine, model and images, a line each.</summary>
    public static IReadOnlyList<string> Header(BenchReport report)
    {
        var m = report.Machine;
        string commit = m.Commit is null ? "" : $" ({m.Commit})";
        string peak = string.Join(", ", report.Peak.Select(p =>
            $"{Format.Number(p.Value, "0")} on {p.Key} {(p.Key == 1 ? "thread" : "threads")}"));
        string agents = report.PruneLayers.Count == 0 ? ""
            : $", {(report.RandomAgents ? "random agents" : "agents")} after {string.Join(", ", report.PruneLayers)}";
        string numbers = string.Join(", ", report.Results.Select(r => Format.Name(r.Case.Precision)).Distinct());
        return
        [
            $"espalier {m.Version}{commit}, {m.Framework}, {m.Os}",
            $"{m.Cpu}, {m.Cores} cores, {m.Kernel} kernels in fp32; FMA peak in GFLOP/s: {peak}",
            $"{report.Model}, {numbers}: {Format.Large(report.Parameters)} parameters, "
                + $"{Format.Large(report.DenseMultiplyAdds)} MACs an image of {report.ImageSize} pixels{agents}; on {report.Images}",
        ];
    }

    /// <summary>The columns, without those of numbers and training steps where there is only one kind, or none.</summary>
    public static IReadOnlyList<BenchCell> Cells(BenchReport report)
    {
        bool train = report.Results.Any(r => r.ForwardEquivalents is not null);
        BenchCell[] numbers = Mixed(report) ? [new("numbers", true, r => Format.Name(r.Case.Precision))] : [];
        BenchCell[] forwards =
            train ? [new("forwards", false, r => r.ForwardEquivalents is { } n ? Format.Number(n, "0.00") : "")] : [];
        return
        [
            new("pass", true, r => $"{(r.Case.Mode == BenchMode.Infer ? "infer" : "train")} {r.Case.Name}"),
            .. numbers,
            new("threads", false, r => $"{r.Case.Threads}"),
            new("batch", false, r => $"{r.Case.BatchSize}"),
            new("images/s", false, r => Format.Rate(r.ImagesPerSecond)),
            new("ms ± sd", false, r => $"{Milliseconds(r.Time.Mean)} ± {Milliseconds(r.Time.StandardDeviation)}"),
            new("P50 / P90 / P99", false,
                r => $"{Milliseconds(r.Time.P50)} / {Milliseconds(r.Time.P90)} / {Milliseconds(r.Time.P99)}"),
            new("MACs", false, r => r.MultiplyAdds is { } macs ? Format.Large(macs) : ""),
            new("GFLOP/s", false, r => r.Gflops is { } rate ? Format.Number(rate, "0.0") : ""),
            new("peak", false, r => r.PeakShare is { } share ? Format.Share(share) : ""),
            new("memory", false, r => Format.Bytes(r.PeakBytes)),
            new("alloc", false, r => Format.Bytes(r.AllocatedBytes)),
            .. forwards,
        ];
    }

    /// <summary>Tokens of the pruned passes, a line for each.</summary>
    public static IEnumerable<string> Tokens(BenchReport report)
    {
        bool mixed = Mixed(report);
        return report.Results.Where(r => r.Case.Variant.Prunes).Select(r =>
            $"{r.Case.Name}{(mixed ? " " + Format.Name(r.Case.Precision) : "")}, batch of {r.Case.BatchSize}: "
            + $"tokens {Format.Tokens(r.Tokens)}").Distinct();
    }

    private static bool Mixed(BenchReport report) =>
        report.Results.Any(r => r.Case.Precision != report.Results[0].Case.Precision);

    private static string Milliseconds(double nanoseconds) =>
        Format.Number(nanoseconds / 1e6, nanoseconds < 1e7 ? "0.000" : nanoseconds < 1e8 ? "0.00" : "0.0");
}
