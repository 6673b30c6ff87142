using System.CommandLine;
using System.Globalization;
using System.Text;
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
    private static readonly Option<bool> Plan =
        Opt.Flag("--plan", "Only say how many hours it takes on this machine, by a few steps");
    private const string UsualVit = "models/vit-conv-28.safetensors";
    private static readonly Option<string?> TrainedVit = Opt.Text("--model", $"The trained transformer [{UsualVit}]", "FILE");
    private static readonly Option<string?> Output = Opt.Text("--output",
        "The Markdown file whose section is written; by default RESULTS.md in --output-dir", "FILE.md");

    public static int Run(string[] args, CommandContext context) => CommandLine.Run("reproduce", Build, args, context);

    internal static RootCommand Build(CommandContext context) => CommandLine.Root(
        "Runs methods on one data set and writes the table of results.",
        [$"{Start} apt --output-dir runs/apt --output docs/results.md"],
        [Baselines(context), TokenPruning(context), Filters(context), Vit(context), Size(context), Shapes(context),
            Stack(context), Repr(context), Depth(context), Recover(context), Budget(context), Times(context), Speed(context)]);

    private static Verb Baselines(CommandContext context)
    {
        Option<string?> models = Opt.Text("--models", "Put the trained networks here as well", "DIR");
        Option<string[]> some = Opt.Choices("--networks", "Only these [all]", [.. BaselineReproduction.Names]);
        const string what = "The trained networks that other experiments begin with.";
        return Experiment("baselines", what, [models, some, Plan], context,
            (parse, folder, page, _) =>
            {
                string[] names = parse.GetValue(some).Or([.. BaselineReproduction.Names]);
                var runs = new BaselineReproduction(context, folder, parse.GetValue(Shared.DataDir), parse.GetValue(models));
                if (parse.GetValue(Plan))
                    return Show(context, names.Select(n => (n, runs.Estimate(n))));
                var done = new List<Baseline>();
                try
                {
                    foreach (string name in names)
                    {
                        if (runs.Train(name) is not { } trained) return null;
                        done.Add(trained);
                    }
                    BaselineReproduction.Picture(done).Save(page, "baselines.svg");
                    return runs.Section(done);
                }
                finally
                {
                    foreach (Baseline b in done) b.Model.Dispose();
                }
            }, bySeeds: false);
    }

    private static Verb Vit(CommandContext context)
    {
        const string what = "Every way to make a vision transformer smaller.";
        return Comparison("vit", what, "Vision transformers made smaller on Fashion-MNIST", ComparedMethod.Transformers, 2000,
            [TrainedVit], context, several: false, parse => [Transformer(parse)]);
    }

    private static Verb Filters(CommandContext context)
    {
        Option<string[]> some = Opt.Choices("--networks", "Only these [all]", "resnet20", "vgg16-quarter");
        const string what = "Every way to prune filters.";
        return Comparison("filters", what, "Filter pruning on Fashion-MNIST", ComparedMethod.Filters, 1000, [some], context, several: true,
            parse => [.. parse.GetValue(some).Or("resnet20", "vgg16-quarter")
                .Select(n => new ComparisonStart(n, SizeReproduction.Start(n), 0.01f))]);
    }

    /// <summary>A trained transformer, by the recipe that has its file's name.</summary>
    private static ComparisonStart Transformer(ParseResult parse)
    {
        string file = parse.GetValue(TrainedVit) ?? UsualVit, name = Path.GetFileNameWithoutExtension(file);
        return new(BaselineReproduction.Names.Contains(name) ? name : Path.GetFileNameWithoutExtension(UsualVit), file, 5e-4f);
    }

    /// <summary>Every way to make trained networks smaller: a table a network and a budget.</summary>
    /// <param name="usual">Steps of a line.</param>
    /// <param name="several">Whether there may be several networks: then each has a folder in the experiment's.</param>
    /// <param name="networks">What is begun with.</param>
    private static Verb Comparison(string name, string what, string title, IReadOnlyList<ComparedMethod> all, long usual, Option[] own,
        CommandContext context, bool several, Func<ParseResult, IReadOnlyList<ComparisonStart>> networks)
    {
        Option<long?> steps = Steps("of each method", usual);
        Option<double[]> budgets = Opt.Numbers("--budgets", "Shares of the multiply-adds to keep [0.7,0.5]", 0.01, 0.99);
        Option<bool> quick = Opt.Flag("--quick", "One seed, 1000 steps, the budget 0.5, no shapes from scratch, where nothing else is said");
        Option<string[]> some = Opt.Choices("--methods", "Only these lines, to share them among processes [all]",
            [.. all.Select(m => m.Id)]);
        return Experiment(name, what, [.. own, steps, budgets, some, quick, Plan], context, (parse, folder, page, seeds) =>
        {
            bool few = parse.GetValue(quick);
            if (few && parse.GetResult(Seeds) is null) seeds = [1];
            double[] shares = parse.GetValue(budgets).Or(few ? [0.5] : [0.7, 0.5]);
            ComparisonRuns[] comparisons = [.. networks(parse).Select(s => new ComparisonRuns(context,
                several ? Path.Combine(folder, s.Network) : folder, parse.GetValue(Shared.DataDir), s,
                parse.GetValue(steps) ?? (few ? 1000 : usual), shares, ComparedMethod.Of(all, parse.GetValue(some) ?? []), scratch: !few))];
            if (parse.GetValue(Plan))
                return Show(context, comparisons.SelectMany(c => c.Estimates(seeds[0])).Select(e => (e.Name, seeds.Length * e.Time)));
            foreach (ulong seed in seeds)
                foreach (ComparisonRuns runs in comparisons) runs.Train(seed);
            if (parse.GetValue(TrainOnly)) return null;
            var text = new StringBuilder($"## {title}\n\n");
            foreach (ComparisonRuns runs in comparisons)
            {
                var results = new ComparisonResults(runs, seeds);
                IReadOnlyList<ComparedResult> rows = results.Measure();
                context.Terminal.Line($"{runs.Start.Network}\n{ComparisonResults.Table(rows)}");
                string picture = several ? $"{name}-{runs.Start.Network}.svg" : $"{name}-methods.svg";
                ComparisonResults.Picture(rows).Save(page, picture);
                if (several) text.Append($"### {runs.Start.Network}\n\n");
                text.Append(results.Part(rows, several ? $"#### {runs.Start.Network}," : "###", picture));
            }
            return text.Append(ComparisonResults.Ending(GivenCommand.Of(context, name), name)).ToString();
        });
    }

    private static Verb Shapes(CommandContext context)
    {
        Option<string?> network = Opt.Text("--network", "Preset of the transformer [DeiT-S_16]", "NAME");
        Option<double?> share = Opt.Number("--target-flops", "Share of the multiply-adds to keep [0.5]", 0.01, 0.99, "SHARE");
        Option<string[]> some = Opt.Choices("--methods", "Only these lines [all]", [.. ComparedMethod.Transformers.Select(m => m.Id)]);
        const string what = "Whether fewer multiply-adds are less time on a vision transformer of full size.";
        return Experiment("shapes", what, [network, share, some], context, (parse, folder, _, _) =>
        {
            string[] ids = parse.GetValue(some) ?? [];
            return new ShapeReproduction(context, folder, parse.GetValue(network) ?? "DeiT-S_16", 224,
                parse.GetValue(share) ?? 0.5,
                ComparedMethod.Of(ComparedMethod.Transformers, ids)).Section();
        }, bySeeds: false);
    }

    private static Verb Stack(CommandContext context)
    {
        Option<long?> steps = Steps("of each method", 2000);
        const string what = "NViT, APT and eight bits one after another.";
        return Experiment("stack", what, [TrainedVit, steps], context, (parse, folder, _, _) =>
        {
            var vit = new ComparisonRuns(context, folder, parse.GetValue(Shared.DataDir), Transformer(parse),
                parse.GetValue(steps) ?? 2000, [], [], scratch: false);
            return new StackReproduction(context, folder, vit).Section();
        }, bySeeds: false);
    }

    private static Verb Size(CommandContext context)
    {
        Option<long?> steps = Steps("of each line that trains", 1000);
        Option<double[]> budgets =
            Opt.Numbers("--budgets", "Of low rank: shares of the multiply-adds to keep [0.75,0.5,0.35]", 0.01, 0.99);
        Option<bool> quick = Opt.Flag("--quick", "One seed, 100 steps, the budget 0.5, where nothing else is said");
        Option<string[]> nets = Opt.Choices("--networks", "Only these [all]", [.. SizeReproduction.Trained]);
        Option<string[]> some = Opt.Choices("--methods", "Only these lines [all]",
            [.. SizeMethod.All([]).Select(m => m.Id), "enc", "low-rank"]);
        Option<bool> there = Opt.Flag("--finished", "Train nothing: measure what is finished");
        const string what = "Weights of few bits, of code books and of low rank.";
        return Experiment("size", what, [steps, budgets, nets, some, quick, there, Plan], context, (parse, folder, page, seeds) =>
        {
            bool few = parse.GetValue(quick);
            if (few && parse.GetResult(Seeds) is null) seeds = [1];
            double[] shares = parse.GetValue(budgets).Or(few ? [0.5] : [0.75, 0.5, 0.35]);
            string[] names = parse.GetValue(nets).Or([.. SizeReproduction.Trained]), ids = parse.GetValue(some) ?? [];
            var runs = new SizeReproduction(context, folder, parse.GetValue(Shared.DataDir),
                parse.GetValue(steps) ?? (few ? 100 : 1000), names, [.. SizeMethod.All(shares).Where(m => ids.Length == 0
                    || ids.Contains(m.Id) || (ids.Contains(m.Method) && m.Flops is not null))]);
            if (parse.GetValue(Plan))
                return Show(context, runs.Estimates(seeds));
            if (!parse.GetValue(there)) runs.Train(seeds);
            if (parse.GetValue(TrainOnly)) return null;
            var results = new SizeResults(runs, seeds);
            var tables = names.Select(n => (Network: n, Rows: results.Measure(n))).ToArray();
            foreach (var (network, rows) in tables) context.Terminal.Line($"{network}\n{SizeResults.Table(rows)}");
            return results.Section(tables, GivenCommand.Of(context, "size"));
        });
    }

    /// <summary>Prints how long runs will take.</summary>
    private static string? Show(CommandContext context, IEnumerable<(string Name, TimeSpan Time)> plan)
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

    private static Verb TokenPruning(CommandContext context)
    {
        Option<long?> steps = Steps("of each line", 2000);
        Option<double[]> budgets =
            Opt.Numbers("--budgets", "Shares of the multiply-adds that pruned passes may spend [0.85,0.5]", 0.01, 0.99);
        Option<string?> some = Opt.Text("--lines", "Only these, with commas between: plain, apt-0.85, control, longer [all]", "LIST");
        const string what = "A trained transformer that goes on plainly and with the automatic pruning transformer.";
        return Experiment("apt", what, [steps, budgets, some, Plan], context, (parse, folder, _, seeds) =>
        {
            string? dataDir = parse.GetValue(Shared.DataDir);
            var runs = new AptReproduction(context, folder, dataDir, parse.GetValue(steps) ?? 2000,
                AptReproduction.Of(parse.GetValue(budgets).Or(0.85, 0.5), parse.GetValue(some)));
            if (parse.GetValue(Plan)) return Show(context, runs.Estimates(seeds[0]).Select(e => (e.Name, seeds.Length * e.Time)));
            WorkShare? share = WorkShare.Of(folder);
            if (!seeds.Where(s => share?.Claim($"seed-{s}") != false).All(runs.Train) || parse.GetValue(TrainOnly)) return null;
            var results = new AptResults(context, runs, seeds, dataDir);
            IReadOnlyList<AptResult> rows = results.Measure();
            context.Terminal.Line(AptResults.Table(rows));
            return results.Section(rows);
        });
    }

    private static Verb Repr(CommandContext context)
    {
        Option<long?> steps = Steps("of each training", 600);
        Option<string[]> tables = Opt.Choices("--tables", "Only these [all]", [.. ReprReproduction.Tables]);
        return Experiment("repr", "Whether RePr helps.", [steps, tables], context, (parse, folder, _, seeds) =>
        {
            var runs = new ReprReproduction(context, folder, parse.GetValue(Shared.DataDir), parse.GetValue(steps) ?? 600, seeds,
                parse.GetValue(tables).Or([.. ReprReproduction.Tables]));
            runs.Train();
            return parse.GetValue(TrainOnly) ? null : runs.Section();
        });
    }

    private static Verb Depth(CommandContext context)
    {
        Option<long?> steps = Steps("of each training", 1000);
        return Experiment("depth", "What random depth does to a trained network.", [steps], context, (parse, folder, _, seeds) =>
        {
            var runs = new DepthReproduction(context, folder, parse.GetValue(Shared.DataDir), parse.GetValue(steps) ?? 1000, seeds);
            runs.Train();
            return parse.GetValue(TrainOnly) ? null : runs.Section();
        });
    }

    private static Verb Recover(CommandContext context)
    {
        Option<long?> steps = Steps("of fine-tuning", 500);
        Option<string[]> some = Opt.Choices("--networks", "Only these [all]", [.. RecoveryReproduction.Networks]);
        const string what = "What recovery without training is worth beside fine-tuning.";
        return Experiment("recovery", what, [steps, some], context, (parse, folder, _, _) => new RecoveryReproduction(context, folder,
            parse.GetValue(Shared.DataDir), parse.GetValue(steps) ?? 500, parse.GetValue(some).Or([.. RecoveryReproduction.Networks]))
            .Section(), bySeeds: false);
    }

    private static Verb Budget(CommandContext context)
    {
        Option<string[]> some = Opt.Choices("--networks", "Only these [all]", [.. RecoveryReproduction.Networks]);
        const string what = "Multiply-adds or time as what layers compete for.";
        return Experiment("budget", what, [some], context, (parse, folder, _, _) => new BudgetReproduction(context, folder,
            parse.GetValue(Shared.DataDir), parse.GetValue(some).Or([.. RecoveryReproduction.Networks])).Section(), bySeeds: false);
    }

    private static Verb Times(CommandContext context)
    {
        Option<int?> networks = Opt.Number("--networks", "Networks of random widths to try of each [200]", 1, 100_000);
        return Experiment("times", "How far predicted times are off.", [networks], context, (parse, folder, page, _) =>
        {
            var runs = new TimesReproduction(context, folder, parse.GetValue(networks) ?? 200);
            Folders.MakeFor(Path.Combine(folder, "times.json"));
            string section = runs.Section();
            if (!context.Cancel.IsCancellationRequested) runs.SavePicture(page);
            return section;
        }, bySeeds: false);
    }

    private static Verb Speed(CommandContext context)
    {
        Option<string[]> some = Opt.Choices("--networks", "Only these [all]", [.. SpeedReproduction.Networks]);
        Option<int[]> batches = Opt.Numbers("--batches", "Images of a call [1,8,64]", 1, 4096);
        Option<int?> rounds = Opt.Number("--rounds", "Turns of whole and smaller network [7]", 1, 1000);
        const string what = "Whether half of the multiply-adds is about half of the time.";
        return Experiment("speed", what, [some, batches, rounds], context, (parse, _, _, _) => new SpeedReproduction(context,
            parse.GetValue(some).Or([.. SpeedReproduction.Networks]), parse.GetValue(batches).Or(1, 8, 64), parse.GetValue(rounds) ?? 7)
            .Section(), bySeeds: false);
    }

    private static Option<long?> Steps(string what, long usual) =>
        Opt.Number("--steps", $"Training steps {what} [{usual}]", 1, 10_000_000L);

    /// <param name="run">Trains and measures in a folder, for a page; gives the section to write, or null where there is none.
    /// </param>
    /// <param name="bySeeds">Whether it is done once for each of some seeds, which may be shared.</param>
    private static Verb Experiment(string name, string description, Option[] own, CommandContext context,
        Func<ParseResult, string, string, ulong[], string?> run, bool bySeeds = true)
    {
        string example = $"{Start} {name} --output-dir runs/{name}";
        string[] shared = bySeeds ? [$"{example} --seeds 2 --train-only --threads 1"] : [];
        Option[] sharing = bySeeds ? [Seeds, TrainOnly] : [];
        var verb = new Verb(name, description, [$"{example} --output docs/results.md", .. shared]);
        foreach (Option option in (Option[])[Shared.DataDir, Shared.OutputDir, .. own, .. sharing, Output])
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
}
