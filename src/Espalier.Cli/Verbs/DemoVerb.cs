using System.CommandLine;
using System.Diagnostics;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Reporting;
using Espalier.Training;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier demo`: a small APT against a plain transformer, on the embedded images, with nothing to prepare.</summary>
internal static class DemoVerb
{
    private const long UsualSteps = 800;

    /// <summary>Training that would take longer than this on a slow or busy machine is shortened.</summary>
    private static readonly TimeSpan MostTime = TimeSpan.FromSeconds(120);

    private static readonly Option<long?> Steps =
        Opt.Number("--steps", $"Training steps of each model [{UsualSteps}, fewer on a slow machine]", 1, 1_000_000L);
    private static readonly Option<ulong?> Seed = Opt.Number("--seed", "Of everything random [42]", 0UL, ulong.MaxValue);

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("demo",
            "Trains a small APT and a plain transformer on embedded images, compares them, writes a report.",
            "espalier demo", "espalier demo --steps 1000 --output-dir my-demo")
        {
            Steps, Seed, Shared.OutputDir,
        };
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        Terminal terminal = context.Terminal;
        string folder = parse.GetValue(Shared.OutputDir) ?? "espalier-demo";
        // Runs of the demo, which write no recipes, may be replaced; those of train may not.
        if (new[] { "apt", "vit" }.Select(name => new RunFolder(folder, name).Recipe).FirstOrDefault(File.Exists) is { } there)
            throw new EspalierException($"{there}: is of a run of 'train', which the demo would replace; give another --output-dir");
        DatasetPair data = Datasets.OpenSample();
        TrainPlan plan = Plan(parse.GetValue(Seed) ?? 42, folder, parse.GetValue(Steps) ?? UsualSteps);
        if (parse.GetValue(Steps) is null) plan = Shortened(plan, data, context);
        terminal.Line($"{data.Train.Count} training and {data.Test.Count} test images of Fashion-MNIST, "
            + $"{plan.Options.Steps} steps of {plan.Options.BatchSize} images for each model");

        using var plain = new TrainRun(plan with { Method = null, Options = plan.Options with { Name = "vit" } }, data, context);
        if (!plain.Run().Completed) return context.ExitCode;
        using var apt = new TrainRun(plan, data, context);
        if (!apt.Run().Completed) return context.ExitCode;

        var rows = new List<ModelRow> { ModelRow.Of("plain ViT", plain.OnTest(), prune: false) };
        IReadOnlyList<HistoryPoint> history = TrainingHistory.Read(new RunFolder(folder, "apt").History);
        ReportData report = RunReport.Build(apt.OnTest(), rows, history, "apt");
        report = report with
        {
            Title = "APT against the plain vision transformer",
            CommandLine = "espalier " + string.Join(' ', context.Arguments),
            Curves = [.. ReportBuilder.Curves("vit", TrainingHistory.Read(new RunFolder(folder, "vit").History), []),
                .. report.Curves],
        };
        string page = Path.Combine(folder, "report.html");
        HtmlReport.Write(page, report);
        Tables.Compare(terminal, rows);
        terminal.Line($"report      {Path.GetFullPath(page)}");
        return ExitCodes.Done;
    }

    private static TrainPlan Plan(ulong seed, string folder, long steps) => new()
    {
        Method = ((ITrainingMethod)CompressionMethods.Get("apt")).UsualFor(fromScratch: true).Set("budget", "0.5"),
        Data = FashionMnist.OpenSample().Info.Name,
        ModelType = "vit-tiny-28",
        Augmentation = Augmentation.None,
        Recipe = new Recipe { LabelSmoothing = 0.1f },
        HoldOut = 0,
        Options = new TrainOptions
        {
            Name = "apt", OutputDir = folder, Steps = steps, BatchSize = 32, EvalBatchSize = 100, EvalEvery = Interval(steps),
            CheckpointEvery = 0, Optimizer = "adamw", LearningRate = 2e-3f, WeightDecay = 0.1f, Seed = seed,
            ClipGroups = true,
        },
    };

    /// <summary>Times a few steps and takes fewer where all of them would not be done in time.</summary>
    private static TrainPlan Shortened(TrainPlan plan, DatasetPair data, CommandContext context)
    {
        const int trial = 12;
        Terminal silent = context.Terminal with { Out = TextWriter.Null, Interactive = false };
        var quiet = new CommandContext(silent, context.Cancel, context.Interrupt);
        TrainOptions brief = plan.Options with { Steps = trial, OutputDir = null, EvalEvery = 0 };
        TrainPlan few = plan with { EvalLimit = 1, Options = brief };
        TimeSpan needed = TimeSpan.Zero;
        foreach (CompressionMethod? method in new[] { null, plan.Method })
        {
            Time();         // compiles
            needed += Time();

            TimeSpan Time()
            {
                using var run = new TrainRun(few with { Method = method }, data, quiet);
                long start = Stopwatch.GetTimestamp();
                run.Run();
                return Stopwatch.GetElapsedTime(start);
            }
        }
        context.Cancel.ThrowIfCancellationRequested();
        double affordable = MostTime / needed * trial;
        if (affordable >= plan.Options.Steps) return plan;
        long steps = Math.Max(trial, (long)affordable);
        return plan with { Options = plan.Options with { Steps = steps, EvalEvery = Interval(steps) } };
    }

    /// <summary>Steps between evaluations: five of them make the curve.</summary>
    private static long Interval(long steps) => Math.Max(1, steps / 5);
}
