using System.CommandLine;
using System.Globalization;
using System.Text;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Formats;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier reproduce apt`: trains what the table of results compares, measures it and writes the table.</summary>
internal static class ReproduceVerb
{
    private const long UsualSteps = 5000;
    private const int UsualBatch = 32;

    private static readonly Argument<string> What = new("what") { Description = "apt: the automatic pruning transformer on Fashion-MNIST" };
    private static readonly Option<long?> Steps = Opt.Number("--steps", $"Training steps of each model [{UsualSteps}]", 1, 10_000_000L);
    private static readonly Option<string?> Seeds = Opt.Text("--seeds", "Seeds, with commas between [1,2,3]", "LIST");
    private static readonly Option<bool> TrainOnly = Opt.Flag("--train-only", "Train, but do not measure: to share seeds among processes or machines");
    private static readonly Option<string?> Output = Opt.Text("--output", "The Markdown file to write; by default RESULTS.md in --output-dir", "FILE.md");

    public static Command Create(Session session)
    {
        var verb = new Verb("reproduce", "Runs the methods on one data set and writes the table of results.",
            "espalier reproduce apt --output-dir runs/apt --output docs/results.md",
            "espalier reproduce apt --output-dir runs/apt --seeds 2 --train-only --threads 1")
        {
            What, Shared.DataDir, Shared.OutputDir, Steps, Seeds, TrainOnly, Output,
        };
        verb.SetAction(parse => Run(parse, session));
        return verb;
    }

    private static int Run(ParseResult parse, Session session)
    {
        if (parse.GetValue(What) is not "apt") throw new EspalierException($"reproduce knows 'apt', not '{parse.GetValue(What)}'");
        string folder = parse.GetValue(Shared.OutputDir) ?? "runs/apt";
        string? dataDir = parse.GetValue(Shared.DataDir);
        ulong[] seeds = ParseSeeds(parse.GetValue(Seeds) ?? "1,2,3");
        long steps = parse.GetValue(Steps) ?? UsualSteps;
        var runs = new AptReproduction(session, folder, dataDir, steps, UsualBatch);
        foreach (ulong seed in seeds) if (!runs.Train(seed)) return session.ExitCode;
        if (parse.GetValue(TrainOnly)) return ExitCodes.Done;

        IReadOnlyList<AptResult> rows = new AptResults(session, runs, seeds, dataDir).Measure();
        string text = AptResults.Page(rows, runs, seeds, steps, UsualBatch);
        session.Terminal.Line(AptResults.Table(rows));
        string path = parse.GetValue(Output) ?? Path.Combine(folder, "RESULTS.md");
        AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(text)));
        session.Terminal.Line($"results     {path}");
        return ExitCodes.Done;
    }

    private static ulong[] ParseSeeds(string list) => [.. list.Split(',').Select(s =>
        ulong.TryParse(s, NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed) ? seed
            : throw new EspalierException($"--seeds takes whole numbers with commas between, not '{list}'"))];
}
