using Espalier.Cli.Display;
using Espalier.Compression;
using Espalier.Reporting;
using Spectre.Console;

namespace Espalier.Cli.Running;

/// <summary>What `compress sensitivity` was asked to do.</summary>
internal sealed record SensitivityPlan
{
    public required ImportanceMethod Method { get; init; }

    public required CompressSource Source { get; init; }

    public required Sensitivity Sweep { get; init; }

    /// <summary>Evaluate on the first so many images.</summary>
    public int Limit { get; init; }

    /// <summary>Where the report goes; null for none.</summary>
    public ReportFile? Report { get; init; }
}

/// <summary>How far each layer can go: a sweep, its table and its answer.</summary>
internal sealed class SensitivityRun(SensitivityPlan plan, CommandContext context)
{
    private readonly Terminal terminal = context.Terminal;

    public void Run()
    {
        using CompressInput input = plan.Source.Open(plan.Method.Seed);
        context.Opened(input.Pair);
        Folders.MakeFor(plan.Report?.Path);
        PreprocessChoice.Show(terminal, input.Preprocessing);
        var data = input.Data with { Evaluation = DataChoice.Limit(input.Data.Evaluation, plan.Limit) };
        var job = new CompressionJob(input.Model, data, plan.Method, cancel: context.Cancel);
        SensitivityResult result = Watch.Run(terminal, "evaluating", 1, report =>
            plan.Sweep.Sweep(job, plan.Method, (done, all) => report((double)done / all)));
        Show(result, $"on {data.Evaluation.Count} test images of {input.Pair.Info.Name}, without any training; channels "
            + "scored by " + plan.Method.Name);
        if (plan.Report is not { } file) return;
        var written = new SensitivityReport
        {
            Method = plan.Method.Name, Network = input.Name,
            Dataset = $"{input.Pair.Info.Name}, {data.Evaluation.Count} test images", Machine = CompressReport.Machine,
            CommandLine = "espalier " + string.Join(' ', context.Arguments), Version = VersionAction.Text, Result = result,
        };
        if (file.IsPage) written.SaveHtml(file.Path);
        else written.SaveJson(file.Path);
        terminal.Line($"report      {file.Path}");
    }

    private void Show(SensitivityResult result, string how)
    {
        string points = Format.Number(100 * result.Tolerance, "0.##") + (result.Tolerance == 0.01 ? " point" : " points");
        Table table = Tables.New(["group", "channels", .. plan.Sweep.Ratios.Select(r => Format.Number(r, "0.##")), "goes to"]);
        foreach (GroupSensitivity g in result.Groups)
            table.Row([g.Name, $"{g.Channels}", .. g.Points.Select(p => Format.Number(100 * p.Accuracy, "0.0")),
                g.Most > 0 ? Format.Number(g.Most, "0.##") : "-"]);
        terminal.Line($"accuracy in % with a share of one group's channels removed; whole network "
            + $"{Format.Percent(result.Accuracy)}");
        terminal.Console.Write(table);
        terminal.Line(how);
        terminal.Line($"how far     each group alone costs at most {points} up to the share in the last column; all of them "
            + $"together: MACs {Format.Large(result.MultiplyAdds)} -> {Format.Large(result.MultiplyAddsTogether)} "
            + $"({Format.Share((double)result.MultiplyAddsTogether / result.MultiplyAdds)}), "
            + $"accuracy {Format.Percent(result.AccuracyTogether)} before any training");
    }
}
