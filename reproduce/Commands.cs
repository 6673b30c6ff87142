using System.CommandLine;
using System.Globalization;
using Espalier.Cli;
using Espalier.Cli.Options;
using Espalier.Cli.Running;

namespace Espalier.Reproduce;

/// <summary>The experiments behind docs/results.md: each trains what its table compares, measures, writes.</summary>
internal static class Commands
{
    /// <summary>What stands before an experiment's name to run it from the root of the repository.</summary>
    public const string Start = "dotnet run -c Release --project reproduce --";

    private static readonly Option<string?> Seeds = Opt.Text("--seeds", "Seeds, with commas between [1,2,3]", "LIST");
    private static readonly Option<bool> TrainOnly =
        Opt.Flag("--train-only", "Train, but do not measure: to share seeds among processes or machines");
    private static readonly Option<string?> Output = Opt.Text("--output",
        "The Markdown file whose section is written; by default RESULTS.md in --output-dir", "FILE.md");

    public static int Run(string[] args, CommandContext context) => CommandLine.Run("reproduce", Build, args, context);

    internal static RootCommand Build(CommandContext context) => CommandLine.Root(
        "Runs methods on one data set and writes the table of results.",
        [$"{Start} apt --output-dir runs/apt --output docs/results.md"],
        [TokenPruning(context), Filters(context), Repr(context), Times(context)]);

    private static Verb TokenPruning(CommandContext context)
    {
        const int batch = 32;
        Option<long?> steps = Steps("of each model", 5000);
        const string what = "The automatic pruning transformer beside a plain transformer.";
        return Experiment("apt", what, [steps], context, (parse, folder, seeds) =>
        {
            string? dataDir = parse.GetValue(Shared.DataDir);
            var runs = new AptReproduction(context, folder, dataDir, parse.GetValue(steps) ?? 5000, batch);
            if (!seeds.All(runs.Train) || parse.GetValue(TrainOnly)) return null;
            var results = new AptResults(context, runs, seeds, dataDir);
            IReadOnlyList<AptResult> rows = results.Measure();
            context.Terminal.Line(AptResults.Table(rows));
            return results.Section(rows);
        });
    }

    private static Verb Filters(CommandContext context)
    {
        Option<long?> steps = Steps("of the common training and again of each method", 200);
        Option<double?> share =
            Opt.Number("--target-flops", "Share of the multiply-adds that every method keeps [0.5]", 0.01, 0.99, "SHARE");
        return Experiment("filters", "Every way to prune filters.", [steps, share], context, (parse, folder, seeds) =>
        {
            var runs = new FilterReproduction(context, folder, parse.GetValue(Shared.DataDir), parse.GetValue(steps) ?? 200,
                parse.GetValue(share) ?? 0.5);
            foreach (ulong seed in seeds) runs.Train(seed);
            if (parse.GetValue(TrainOnly)) return null;
            var results = new FilterResults(runs, seeds);
            var tables = FilterReproduction.Networks.Select(n => (Network: n, Rows: results.Measure(n))).ToArray();
            foreach (var (network, rows) in tables) context.Terminal.Line($"{network.Name}\n{FilterResults.Table(rows)}");
            return results.Section(tables);
        });
    }

    private static Verb Repr(CommandContext context)
    {
        Option<long?> steps = Steps("of each training", 600);
        return Experiment("repr", "Whether RePr helps.", [steps], context, (parse, folder, seeds) =>
        {
            var runs = new ReprReproduction(context, folder, parse.GetValue(Shared.DataDir), parse.GetValue(steps) ?? 600, seeds);
            runs.Train();
            return parse.GetValue(TrainOnly) ? null : runs.Section();
        });
    }

    private static Verb Times(CommandContext context)
    {
        Option<int?> networks = Opt.Number("--networks", "Networks of random widths to try of each [200]", 1, 100_000);
        return Experiment("times", "How far predicted times are off.", [networks], context, (parse, folder, _) =>
        {
            var runs = new TimesReproduction(context, folder, parse.GetValue(networks) ?? 200);
            Folders.MakeFor(Path.Combine(folder, "times.json"));
            string section = runs.Section();
            if (!context.Cancel.IsCancellationRequested) runs.SavePicture(parse.GetValue(Output) ?? Path.Combine(folder, "RESULTS.md"));
            return section;
        });
    }

    private static Option<long?> Steps(string what, long usual) =>
        Opt.Number("--steps", $"Training steps {what} [{usual}]", 1, 10_000_000L);

    /// <param name="run">Trains and measures in a folder; gives the section to write, or null where there is none.</param>
    private static Verb Experiment(string name, string description, Option[] own, CommandContext context,
        Func<ParseResult, string, ulong[], string?> run)
    {
        var verb = new Verb(name, description, $"{Start} {name} --output-dir runs/{name} --output docs/results.md",
            $"{Start} {name} --output-dir runs/{name} --seeds 2 --train-only --threads 1");
        foreach (Option option in (Option[])[Shared.DataDir, Shared.OutputDir, Seeds, .. own, TrainOnly, Output])
            verb.Options.Add(option);
        verb.SetAction(parse =>
        {
            ulong[] seeds = ParseSeeds(parse.GetValue(Seeds) ?? "1,2,3");
            string folder = parse.GetValue(Shared.OutputDir) ?? $"runs/{name}";
            string path = parse.GetValue(Output) ?? Path.Combine(folder, "RESULTS.md");
            Folders.MakeFor(path);
            string? section = run(parse, folder, seeds);
            if (context.Cancel.IsCancellationRequested) return context.ExitCode;
            if (section is null) return ExitCodes.Done;
            ResultsPage.Write(path, section);
            context.Terminal.Line($"results     {path}");
            return ExitCodes.Done;
        });
        return verb;
    }

    private static ulong[] ParseSeeds(string list) => [.. list.Split(',').Select(s =>
        ulong.TryParse(s, NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed) ? seed
            : throw new EspalierException($"--seeds takes whole numbers with commas between, not '{list}'"))];
}
