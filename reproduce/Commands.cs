using System.CommandLine;
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

    private const string UsualVit = "models/vit-conv-28.safetensors";
    private static readonly Option<string?> TrainedVit = Opt.Text("--model", $"The trained transformer [{UsualVit}]", "FILE");

    public static int Run(string[] args, CommandContext context) => CommandLine.Run("reproduce", Build, args, context);

    internal static RootCommand Build(CommandContext context) => CommandLine.Root(
        "Runs methods on one data set and writes the table of results.",
        [$"{Start} apt --output-dir runs/apt --output docs/results.md"],
        [Baselines(context), TokenPruning(context), Filters(context), Vit(context), Size(context), Shapes(context),
            Stack(context), Repr(context), Depth(context), Curve(context), Recover(context), Budget(context), Times(context), Speed(context)]);

    private static Verb Baselines(CommandContext context)
    {
        Option<string?> models = Opt.Text("--models", "Put the trained networks here as well", "DIR");
        Option<string[]> some = Opt.Choices("--networks", "Only these [all]", [.. BaselineReproduction.Names]);
        Option<bool> there = Opt.Flag("--finished", "Train nothing: rows of the networks that are in --models, or else in models/");
        const string what = "The trained networks that other experiments begin with.";
        return Experiment.Of("baselines", what, [models, some, there], context,
            (parse, folder, page, _) =>
            {
                string[] names = parse.GetValue(some).Or([.. BaselineReproduction.Names]);
                bool finished = parse.GetValue(there);
                string? published = parse.GetValue(models) ?? (finished ? "models" : null);
                var runs = new BaselineReproduction(context, folder, parse.GetValue(Shared.DataDir), published);
                if (parse.GetValue(Experiment.Plan))
                    return Experiment.Show(context, names.Select(n => (n, runs.Estimate(n))));
                var done = new List<Baseline>();
                try
                {
                    foreach (string name in names)
                    {
                        if (finished && !runs.IsPublished(name)) continue;
                        if ((finished ? runs.Published(name) : runs.Train(name)) is not { } trained) return null;
                        done.Add(trained);
                    }
                    if (done.Count == 0) throw new EspalierException($"{published}: has none of {string.Join(", ", names)}");
                    return runs.Section(done, BaselineReproduction.SavePicture(done, page), trained: !finished);
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
            [TrainedVit], context, several: false, parse => [Transformer(parse)], moved: true);
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
    /// <param name="moved">Whether what keeps the same patches of every image is tried on moved ones, too.</param>
    private static Verb Comparison(string name, string what, string title, IReadOnlyList<ComparedMethod> all, long usual, Option[] own,
        CommandContext context, bool several, Func<ParseResult, IReadOnlyList<ComparisonStart>> networks, bool moved = false)
    {
        Option<long?> steps = Steps("of each method", usual);
        Option<double[]> budgets = Opt.Numbers("--budgets", "Shares of the multiply-adds to keep [0.7,0.5]", 0.01, 0.99);
        Option<bool> quick = Opt.Flag("--quick", "One seed, 1000 steps, the budget 0.5, no shapes from scratch, where nothing else is said");
        Option<string[]> some = Opt.Choices("--methods", "Only these lines, to share them among processes [all]",
            [.. all.Select(m => m.Id)]);
        Option<bool> only = Opt.Flag("--moved", "Train nothing: measure the finished runs on moved images alone");
        return Experiment.Of(name, what, [.. own, steps, budgets, some, quick, .. moved ? [only] : Array.Empty<Option>()], context,
            (parse, folder, page, seeds) =>
        {
            var hours = new RunHours();
            bool few = parse.GetValue(quick);
            if (few && parse.GetResult(Experiment.Seeds) is null) seeds = [1];
            double[] shares = parse.GetValue(budgets).Or(few ? [0.5] : [0.7, 0.5]);
            ComparisonRuns[] comparisons = [.. networks(parse).Select(s => new ComparisonRuns(context,
                several ? Path.Combine(folder, s.Network) : folder, parse.GetValue(Shared.DataDir), s,
                parse.GetValue(steps) ?? (few ? 1000 : usual), shares, ComparedMethod.Of(all, parse.GetValue(some) ?? []), scratch: !few, hours))];
            if (parse.GetValue(Experiment.Plan))
                return Experiment.Show(context, seeds, comparisons.SelectMany(c => c.Estimates(seeds[0])));
            var text = new StringBuilder($"## {title}\n\n");
            var shifts = new ShiftResults(context, comparisons[0].Runs, shares, seeds);
            if (moved && parse.GetValue(only))
                return parse.GetValue(Experiment.TrainOnly) ? null : text.Append(shifts.Part()).ToString();
            foreach (ulong seed in seeds)
                foreach (ComparisonRuns runs in comparisons) runs.Train(seed);
            if (parse.GetValue(Experiment.TrainOnly)) return null;
            string ending = ComparisonResults.Ending(GivenCommand.Of(context, name), name);
            foreach (ComparisonRuns runs in comparisons)
            {
                var results = new ComparisonResults(runs, seeds);
                IReadOnlyList<ComparedResult> rows = results.Measure();
                context.Terminal.Line($"{runs.Start.Network}\n{ComparisonResults.Table(rows)}");
                string picture = several ? $"{name}-{runs.Start.Network}.svg" : $"{name}-methods.svg";
                ComparisonResults.Picture(rows).Save(page, picture);
                if (several) text.Append($"### {runs.Start.Network}\n\n");
                // A part of a network stands for itself: others may be written by another command.
                text.Append(results.Part(rows, several ? $"#### {runs.Start.Network}," : "###", picture)).Append(ending).Append('\n');
            }
            return (moved && shifts.Any ? text.Append(shifts.Part()) : text).ToString();
        });
    }

    private static Verb Shapes(CommandContext context)
    {
        Option<string?> network = Opt.Text("--network", "Preset of the transformer [DeiT-S_16]", "NAME");
        Option<double?> share = Opt.Number("--target-flops", "Share of the multiply-adds to keep [0.5]", 0.01, 0.99, "SHARE");
        Option<string[]> some = Opt.Choices("--methods", "Only these lines [all]", [.. ComparedMethod.Transformers.Select(m => m.Id)]);
        const string what = "Whether fewer multiply-adds are less time on a vision transformer of full size.";
        return Experiment.Of("shapes", what, [network, share, some], context, (parse, folder, _, _) =>
        {
            string[] ids = parse.GetValue(some) ?? [];
            var shapes = new ShapeReproduction(context, folder, parse.GetValue(network) ?? "DeiT-S_16", 224,
                parse.GetValue(share) ?? 0.5, ComparedMethod.Of(ComparedMethod.Transformers, ids));
            return parse.GetValue(Experiment.Plan) ? Experiment.Show(context, shapes.Estimates()) : shapes.Section();
        }, bySeeds: false);
    }

    private static Verb Stack(CommandContext context)
    {
        Option<long?> steps = Steps("of each method", 2000);
        const string what = "NViT, APT and eight bits one after another.";
        return Experiment.Of("stack", what, [TrainedVit, steps], context, (parse, folder, _, _) =>
        {
            var vit = new ComparisonRuns(context, folder, parse.GetValue(Shared.DataDir), Transformer(parse),
                parse.GetValue(steps) ?? 2000, [], [], scratch: false);
            var stack = new StackReproduction(context, folder, vit);
            return parse.GetValue(Experiment.Plan) ? Experiment.Show(context, stack.Estimates()) : stack.Section();
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
        return Experiment.Of("size", what, [steps, budgets, nets, some, quick, there], context, (parse, folder, page, seeds) =>
        {
            bool few = parse.GetValue(quick);
            if (few && parse.GetResult(Experiment.Seeds) is null) seeds = [1];
            double[] shares = parse.GetValue(budgets).Or(few ? [0.5] : [0.75, 0.5, 0.35]);
            string[] names = parse.GetValue(nets).Or([.. SizeReproduction.Trained]), ids = parse.GetValue(some) ?? [];
            var runs = new SizeReproduction(context, folder, parse.GetValue(Shared.DataDir),
                parse.GetValue(steps) ?? (few ? 100 : 1000), names, [.. SizeMethod.All(shares).Where(m => ids.Length == 0
                    || ids.Contains(m.Id) || (ids.Contains(m.Method) && m.Flops is not null))]);
            if (parse.GetValue(Experiment.Plan))
                return Experiment.Show(context, runs.Estimates(seeds));
            if (!parse.GetValue(there)) runs.Train(seeds);
            if (parse.GetValue(Experiment.TrainOnly)) return null;
            var results = new SizeResults(runs, seeds);
            var tables = names.Select(n => (Network: n, Rows: results.Measure(n))).ToArray();
            foreach (var (network, rows) in tables) context.Terminal.Line($"{network}\n{SizeResults.Table(rows)}");
            return results.Section(tables, GivenCommand.Of(context, "size"));
        });
    }

    private static Verb TokenPruning(CommandContext context)
    {
        Option<long?> steps = Steps("of each line", 2000);
        Option<double[]> budgets =
            Opt.Numbers("--budgets", "Shares of the multiply-adds that pruned passes may spend [0.85,0.5]", 0.01, 0.99);
        Option<string?> some = Opt.Text("--lines", "Only these, with commas between: plain, apt-0.85, control, longer [all]", "LIST");
        Option<bool> parts = Opt.Flag("--ablation", "APT without one of its parts after the other, a section of its own; the usual budget is 0.5");
        const string what = "A trained transformer that goes on plainly and with the automatic pruning transformer.";
        return Experiment.Of("apt", what, [steps, budgets, some, parts], context, (parse, folder, _, seeds) =>
        {
            string? dataDir = parse.GetValue(Shared.DataDir);
            bool ablation = parse.GetValue(parts);
            double[] shares = parse.GetValue(budgets).Or(ablation ? [0.5] : [0.85, 0.5]);
            var runs = new AptReproduction(context, folder, dataDir, parse.GetValue(steps) ?? 2000, AptReproduction.Of(
                ablation ? AptReproduction.Ablation(shares) : AptReproduction.All(shares), parse.GetValue(some)));
            if (parse.GetValue(Experiment.Plan)) return Experiment.Show(context, seeds, runs.Estimates(seeds[0]));
            WorkShare? share = WorkShare.Of(folder);
            if (!seeds.Where(s => share?.Claim($"seed-{s}") != false).All(runs.Train) || parse.GetValue(Experiment.TrainOnly)) return null;
            var results = new AptResults(context, runs, seeds, dataDir);
            IReadOnlyList<AptResult> rows = results.Measure();
            context.Terminal.Line(AptResults.Table(rows));
            return results.Section(rows, ablation ? "What carries APT" : "APT on Fashion-MNIST");
        });
    }

    private static Verb Repr(CommandContext context)
    {
        Option<long?> steps = Steps("of each training", 600);
        Option<string[]> tables = Opt.Choices("--tables", "Only these [all]", [.. ReprReproduction.Tables]);
        return Experiment.Of("repr", "Whether RePr helps.", [steps, tables], context, (parse, folder, _, seeds) =>
        {
            var runs = new ReprReproduction(context, folder, parse.GetValue(Shared.DataDir), parse.GetValue(steps) ?? 600, seeds,
                parse.GetValue(tables).Or([.. ReprReproduction.Tables]));
            if (parse.GetValue(Experiment.Plan)) return Experiment.Show(context, seeds, runs.Estimates(seeds[0]));
            runs.Train();
            return parse.GetValue(Experiment.TrainOnly) ? null : runs.Section();
        });
    }

    private static Verb Depth(CommandContext context)
    {
        Option<long?> steps = Steps("of each training", 1000);
        return Experiment.Of("depth", "What random depth does to a trained network.", [steps], context, (parse, folder, _, seeds) =>
        {
            var runs = new DepthReproduction(context, folder, parse.GetValue(Shared.DataDir), parse.GetValue(steps) ?? 1000, seeds);
            if (parse.GetValue(Experiment.Plan)) return Experiment.Show(context, seeds, runs.Estimates(seeds[0]));
            runs.Train();
            return parse.GetValue(Experiment.TrainOnly) ? null : runs.Section();
        });
    }

    private static Verb Curve(CommandContext context)
    {
        Option<long?> steps = Steps("after each round", 200);
        Option<string[]> some = Opt.Choices("--networks", "Only these [all]", [.. SizeReproduction.Trained]);
        const string what = "Accuracy over the removed share, round by round.";
        return Experiment.Of("curve", what, [steps, some], context, (parse, folder, page, _) =>
        {
            var runs = new CurveReproduction(context, folder, parse.GetValue(Shared.DataDir), parse.GetValue(steps) ?? 200,
                parse.GetValue(some).Or([.. SizeReproduction.Trained]));
            return parse.GetValue(Experiment.Plan) ? Experiment.Show(context, runs.Estimates()) : runs.Section(page);
        }, bySeeds: false);
    }

    private static Verb Recover(CommandContext context)
    {
        Option<long?> steps = Steps("of fine-tuning", 500);
        Option<string[]> some = Opt.Choices("--networks", "Only these [all]", [.. RecoveryReproduction.Networks]);
        const string what = "What recovery without training is worth beside fine-tuning.";
        return Experiment.Of("recovery", what, [steps, some], context, (parse, folder, _, _) =>
        {
            var runs = new RecoveryReproduction(context, folder, parse.GetValue(Shared.DataDir), parse.GetValue(steps) ?? 500,
                parse.GetValue(some).Or([.. RecoveryReproduction.Networks]));
            return parse.GetValue(Experiment.Plan) ? Experiment.Show(context, runs.Estimates()) : runs.Section();
        }, bySeeds: false);
    }

    private static Verb Budget(CommandContext context)
    {
        Option<string[]> some = Opt.Choices("--networks", "Only these [all]", [.. RecoveryReproduction.Networks]);
        const string what = "Multiply-adds or time as what layers compete for.";
        return Experiment.Of("budget", what, [some], context, (parse, folder, _, _) =>
        {
            var runs = new BudgetReproduction(context, folder, parse.GetValue(Shared.DataDir),
                parse.GetValue(some).Or([.. RecoveryReproduction.Networks]));
            return parse.GetValue(Experiment.Plan) ? Experiment.Show(context, runs.Estimates()) : runs.Section();
        }, bySeeds: false);
    }

    private static Verb Times(CommandContext context)
    {
        Option<int?> networks = Opt.Number("--networks", "Networks of random widths to try of each [200]", 1, 100_000);
        return Experiment.Of("times", "How far predicted times are off.", [networks], context, (parse, folder, page, _) =>
        {
            var runs = new TimesReproduction(context, folder, parse.GetValue(networks) ?? 200);
            Folders.MakeFor(Path.Combine(folder, "times.json"));
            if (parse.GetValue(Experiment.Plan)) return Experiment.Show(context, runs.Estimates());
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
        return Experiment.Of("speed", what, [some, batches, rounds], context, (parse, _, _, _) =>
        {
            var runs = new SpeedReproduction(context, parse.GetValue(some).Or([.. SpeedReproduction.Networks]),
                parse.GetValue(batches).Or(1, 8, 64), parse.GetValue(rounds) ?? 7);
            return parse.GetValue(Experiment.Plan) ? Experiment.Show(context, runs.Estimates()) : runs.Section();
        }, bySeeds: false);
    }

    private static Option<long?> Steps(string what, long usual) =>
        Opt.Number("--steps", $"Training steps {what} [{usual}]", 1, 10_000_000L);
}
