using System.CommandLine;
using System.Globalization;
using Espalier.Cli;
using Espalier.Cli.Options;
using Espalier.Cli.Running;

namespace Espalier.Reproduce;

/// <summary>What all experiments have in common on the command line: a folder, a page, seeds, a plan, and several processes.</summary>
internal static class Experiment
{
    public static Option<string?> Seeds { get; } = Opt.Text("--seeds", "Seeds, with commas between [1,2,3]", "LIST");

    public static Option<bool> TrainOnly { get; } =
        Opt.Flag("--train-only", "Train, but do not measure: to share seeds among processes or machines");

    public static Option<bool> Plan { get; } =
        Opt.Flag("--plan", "Only say how many hours it takes on this machine from its beginning, by a few steps");

    private static readonly Option<string?> Output = Opt.Text("--output",
        "The Markdown file whose section is written; by default RESULTS.md in --output-dir", "FILE.md");

    /// <param name="run">Trains and measures in a folder, for a page; gives the section to write, or null where there is none.
    /// </param>
    /// <param name="bySeeds">Whether it is done once for each of some seeds, which may be shared.</param>
    public static Verb Of(string name, string description, Option[] own, CommandContext context,
        Func<ParseResult, string, string, ulong[], string?> run, bool bySeeds = true)
    {
        string example = $"{Commands.Start} {name} --output-dir runs/{name}";
        string[] shared = bySeeds ? [$"{example} --seeds 2 --train-only --threads 1"] : [];
        Option[] sharing = bySeeds ? [Seeds, TrainOnly] : [];
        var verb = new Verb(name, description, [$"{example} --output docs/results.md", $"{Commands.Start} {name} --plan", .. shared]);
        foreach (Option option in (Option[])[Shared.DataDir, Shared.OutputDir, .. own, Plan, .. sharing, Output])
            verb.Options.Add(option);
        verb.RunsTogether = bySeeds;
        verb.SetAction(parse => Together.Run(context, parse, ranks =>
        {
            ulong[] seeds = ParseSeeds((bySeeds ? parse.GetValue(Seeds) : null) ?? "1,2,3");
            string folder = parse.GetValue(Shared.OutputDir) ?? $"runs/{name}";
            string path = parse.GetValue(Output) ?? Path.Combine(folder, "RESULTS.md");
            Folders.MakeFor(path);
            if (ranks is not null)
            {
                // All train what nobody else does; then the first one finds everything finished, measures alone and writes.
                WorkShare.Meet(ranks, folder);
                if (!parse.GetValue(Plan)) run(Training(parse), folder, path, WorkShare.Turned(seeds, ranks));
                WorkShare.Meet(ranks, folder);
                if (ranks.Rank > 0) return ExitCodes.Done;
            }
            string? section = run(parse, folder, path, seeds);
            if (ranks is not null) WorkShare.Clear(folder);
            if (context.Cancel.IsCancellationRequested) return context.ExitCode;
            if (section is null) return ExitCodes.Done;
            ResultsPage.Write(path, section);
            context.Terminal.Line($"results     {path}");
            return ExitCodes.Done;
        }, "reproduce"));
        return verb;
    }

    /// <summary>The same without measuring.</summary>
    private static ParseResult Training(ParseResult parse) => parse.GetValue(TrainOnly) ? parse
        : parse.RootCommandResult.Command.Parse([.. parse.Tokens.Select(t => t.Value), TrainOnly.Name]);

    private static ulong[] ParseSeeds(string list) => [.. list.Split(',').Select(s =>
        ulong.TryParse(s, NumberStyles.None, CultureInfo.InvariantCulture, out ulong seed) ? seed
            : throw new EspalierException($"--seeds takes whole numbers with commas between, not '{list}'"))];

    /// <summary>Prints how long runs will take.</summary>
    public static string? Show(CommandContext context, IEnumerable<(string Name, TimeSpan Time)> plan)
    {
        TimeSpan all = TimeSpan.Zero;
        foreach (var (name, time) in plan)
        {
            context.Terminal.Line(string.Create(CultureInfo.InvariantCulture, $"{time.TotalHours,8:0.00} h  {name}"));
            all += time;
        }
        string sum = FormattableString.Invariant($"{all.TotalHours,8:0.00} h  all, as fast as the machine is now");
        context.Terminal.Line(sum);
        return null;
    }

    /// <summary>The same of what is done once for each seed.</summary>
    /// <param name="plan">For one of them.</param>
    public static string? Show(CommandContext context, ulong[] seeds, IEnumerable<(string Name, TimeSpan Time)> plan) =>
        Show(context, plan.Select(e => (e.Name, seeds.Length * e.Time)));
}
