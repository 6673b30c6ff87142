using System.CommandLine;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Reporting;
using Espalier.Training;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier report`: the HTML report of a finished run.</summary>
internal static class ReportVerb
{
    private const string HistorySuffix = ".history.jsonl";

    private static readonly Argument<string> Source = new("RUN") { Description = "Folder of a run, or a checkpoint" };
    private static readonly Option<string?> Name = Opt.Text("--name", "Which run, where the folder has several", "NAME");
    private static readonly Option<string?> Plain = Opt.Text("--plain", "A model without agents to compare with", "CHECKPOINT");
    private static readonly Option<int?> Limit = Opt.Number("--limit", "The first N test images only", 1, int.MaxValue);
    private static readonly Option<int?> BatchSize = Opt.Number("--batch-size", "Images a batch [32]", 1, 1 << 20);
    private static readonly Option<string?> Output =
        Opt.Text("--output", "Where to write it [report.html in the run's folder]", "FILE.html");

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("report",
            "Writes the HTML report of a run: table, curves, confusions, pictures; of agents also trade-off and tokens.",
            "espalier report output --data fashion-mnist",
                "espalier report output --name apt --plain output/vit.safetensors --output apt.html")
        {
            Source, Name, Plain, Shared.Data, Shared.DataDir, Shared.Strict, Limit, BatchSize, Output,
        };
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        var (checkpoint, run) = Find(parse.GetValue(Source)!, parse.GetValue(Name));
        using Session model = Checkpoints.Open(parse, checkpoint);
        DatasetPair pair = DataChoice.Open(parse, model.Dataset, checkpoint, context);
        Checkpoints.RequireClassifier(model, checkpoint);
        IImageDataset test = DataChoice.Limit(pair.Test, parse.GetValue(Limit));
        IImageDataset data = DataChoice.For(model, checkpoint, test, context.Terminal);
        string output = parse.GetValue(Output)
            ?? Path.Combine(Path.GetDirectoryName(Path.GetFullPath(checkpoint))!, "report.html");

        Folders.RefuseInput(output, checkpoint, "--output");
        Folders.RefuseInput(output, parse.GetValue(Plain), "--output");
        Folders.MakeFor(output);
        int batchSize = parse.GetValue(BatchSize) ?? 32;
        var evaluation = new EvaluationRun(context, model, data, batchSize);
        var rows = new List<ModelRow>();
        using Session? plain = parse.GetValue(Plain) is { } plainPath ? Checkpoints.Open(parse, plainPath) : null;
        if (plain is not null)
        {
            string file = parse.GetValue(Plain)!;
            Checkpoints.RequireClassifier(plain, file);
            string name = plain.Tokens > 0 ? "plain ViT" : Path.GetFileNameWithoutExtension(file);
            // Its classes may be in another order than those of the first model.
            IImageDataset its = DataChoice.For(plain, file, test, context.Terminal);
            rows.Add(ModelRow.Of(name, new EvaluationRun(context, plain, its, batchSize), prune: false));
        }
        IReadOnlyList<HistoryPoint> history = run is null ? [] : TrainingHistory.Read(run.History);
        ReportData report =
            RunReport.Build(evaluation, rows, history, run?.Name ?? Path.GetFileNameWithoutExtension(checkpoint))
            with
            {
                CommandLine = run is not null && File.Exists(run.Recipe) ? RecipeFile.CommandLine(run.Recipe)
                    : "espalier " + string.Join(' ', context.Arguments),
            };
        HtmlReport.Write(output, report);
        Tables.Compare(context.Terminal, rows);
        context.Terminal.Line($"report      {output}");
        return ExitCodes.Done;
    }

    /// <summary>The checkpoint, and the run that it belongs to where there is one.</summary>
    private static (string Checkpoint, RunFolder? Run) Find(string source, string? name)
    {
        if (File.Exists(source))
        {
            string folder = Path.GetDirectoryName(Path.GetFullPath(source))!, file = Path.GetFileNameWithoutExtension(source);
            string? run =
                Histories(folder).Where(n => file == n || file.StartsWith(n + "-best", StringComparison.Ordinal)).MaxBy(n =>
                    n.Length);
            return (source, run is null ? null : new RunFolder(folder, run));
        }
        if (!Directory.Exists(source)) throw new EspalierException($"{source}: there is no such folder or checkpoint");
        string[] names = name is null ? Histories(source) : [name];
        if (names.Length != 1)
            throw new EspalierException(names.Length == 0
                ? $"{source}: no run in it (a file NAME{HistorySuffix}); give a checkpoint"
                : $"{source}: several runs in it ({string.Join(", ", names)}); say which with --name");
        var found = new RunFolder(source, names[0]);
        if (!File.Exists(found.History))
            throw new EspalierException($"{source}: no run {names[0]} in it; there are "
                + string.Join(", ", Histories(source).DefaultIfEmpty("none")));
        return (found.Finished
            ?? throw new EspalierException($"{source}: the run {names[0]} has no checkpoint yet"), found);
    }

    private static string[] Histories(string folder) =>
        [.. Directory.GetFiles(folder, "*" + HistorySuffix).Select(f =>
            Path.GetFileName(f)[..^HistorySuffix.Length]).Order(StringComparer.Ordinal)];
}
