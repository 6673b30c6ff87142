using System.CommandLine;
using System.Globalization;
using Espalier.Cli.Options;
using Espalier.Cli.Running;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier reproduce`: trains what a table of results compares, measures it and writes the table.</summary>
internal static class ReproduceVerb
{
    private static readonly Argument<string> What = new("what")
    {
        Description = "apt: the automatic pruning transformer; filters: every way to prune filters; repr: whether RePr helps",
    };

    private static readonly Option<long?> Steps = Opt.Number("--steps",
        "Training steps: apt: of each model [5000]; filters: of the common training and again of each method [200]; repr: of each training [600]", 1, 10_000_000L);
    private static readonly Option<string?> Seeds = Opt.Text("--seeds", "Seeds, with commas between [1,2,3]", "LIST");
    private static readonly Option<double?> TargetFlops =
        Opt.Number("--target-flops", "filters: share of the multiply-adds that every method keeps [0.5]", 0.01, 0.99, "SHARE");
    private static readonly Option<bool> TrainOnly = Opt.Flag("--train-only", "Train, but do not measure: to share seeds among processes or machines");
    private static readonly Option<string?> Output = Opt.Text("--output",
        "The Markdown file whose section is written; by default RESULTS.md in --output-dir", "FILE.md");

    public static Command Create(Session session)
    {
        var verb = new Verb("reproduce", "Runs the methods on one data set and writes the table of results.",
            "espalier reproduce apt --output-dir runs/apt --output docs/results.md",
            "espalier reproduce filters --output-dir runs/filters --output docs/results.md",
            "espalier reproduce apt --output-dir runs/apt --seeds 2 --train-only --threads 1")
        {
            What, Shared.DataDir, Shared.OutputDir, Steps, Seeds, TargetFlops, TrainOnly, Output,
        };
        verb.SetAction(parse => Run(parse, session));
        return verb;
    }

    private static int Run(ParseResult parse, Session session)
    {
        ulong[] seeds = ParseSeeds(parse.GetValue(Seeds) ?? "1,2,3");
        string what = parse.GetValue(What)!;
        string folder = parse.GetValue(Shared.OutputDir) ?? $"runs/{what}";
        if (what is not ("apt" or "filters" or "repr"))
            throw new EspalierException($"reproduce knows 'apt', 'filters' and 'repr', not '{what}'");
        if (what != "filters" && parse.GetValue(TargetFlops) is not null)
            throw new EspalierException("--target-flops is for 'reproduce filters'; leave it out");
        string path = parse.GetValue(Output) ?? Path.Combine(folder, "RESULTS.md");
        Folders.MakeFor(path);
        string? section = what switch
        {
            "apt" => Apt(parse, session, folder, seeds),
            "filters" => Filters(parse, session, folder, seeds),
            _ => Repr(parse, session, folder, seeds),
        };
        if (session.Cancel.IsCancellationRequested) return session.ExitCode;
        if (section is null) return ExitCodes.Done;
        ResultsPage.Write(path, section);
        session.Terminal.Line($"results     {path}");
        return ExitCodes.Done;
    }

    /// <returns>The section to write; null where there is none to measure.</returns>
    private static string? Apt(ParseResult parse, Session session, string folder, ulong[] seeds)
    {
        const int batch = 32;
        string? dataDir = parse.GetValue(Shared.DataDir);
        long steps = parse.GetValue(Steps) ?? 5000;
        var runs = new AptReproduction(session, folder, dataDir, steps, batch);
        if (!seeds.All(runs.Train) || parse.GetValue(TrainOnly)) return null;
        IReadOnlyList<AptResult> rows = new AptResults(session, runs, seeds, dataDir).Measure();
        session.Terminal.Line(AptResults.Table(rows));
        return AptResults.Section(rows, runs, seeds, steps, batch);
    }

    private static string? Filters(ParseResult parse, Session session, string folder, ulong[] seeds)
    {
        var runs = new FilterReproduction(session, folder, parse.GetValue(Shared.DataDir), parse.GetValue(Steps) ?? 200,
            parse.GetValue(TargetFlops) ?? 0.5);
        foreach (ulong seed in seeds) runs.Train(seed);
        if (parse.GetValue(TrainOnly)) return null;
        var results = new FilterResults(runs, seeds);
        var tables = FilterReproduction.Networks.Select(n => (Network: n, Rows: results.Measure(n))).ToArray();
        foreach (var (network, rows) in tables) session.Terminal.Line($"{network.Name}\n{FilterResults.Table(rows)}");
        return results.Section(tables);
    }

    private static string? Repr(ParseResult parse, Session session, string folder, ulong[] seeds)
    {
        var runs = new ReprReproduction(session, folder, parse.GetValue(Shared.DataDir), parse.GetValue(Steps) ?? 600, seeds);
        runs.Train();
        return parse.GetValue(TrainOnly) ? null : runs.Section();
    }

    private static ulong[] ParseSeeds(string list) => [.. list.Split(',').Select(s =>
        ulong.TryParse(s, NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed) ? seed
            : throw new EspalierException($"--seeds takes whole numbers with commas between, not '{list}'"))];
}
