using System.CommandLine;
using Espalier.Cli;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Data;

namespace Espalier.Reproduce;

/// <summary>Runs of `train`: what its words mean, and how long a step takes.</summary>
internal static class TrainCommand
{
    private const int Few = 12, EvaluationBatch = 250;

    /// <param name="words">From "train" on; recipes are read.</param>
    public static TrainPlan Plan(params string[] words)
    {
        var flags = new TrainFlags();
        var root = new RootCommand { flags.AddTo(new Command("train")) };
        ParseResult parse = root.Parse(RecipeFile.Expanded(root, words));
        if (parse.Errors.Count > 0) throw new EspalierException($"{string.Join(' ', words)}: {parse.Errors[0].Message}");
        return flags.Read(parse);
    }

    /// <summary>How long a step takes on this machine, by a few of them; nothing is written.</summary>
    public static TimeSpan Step(TrainPlan plan, DatasetPair data, CommandContext context)
    {
        using var run = new TrainRun(plan with
        {
            Epochs = null, EvalLimit = EvaluationBatch,
            Options = plan.Options with { OutputDir = null, Resume = false, Steps = Few, EvalEvery = 0, CheckpointEvery = 0 },
        }, data, context);
        var clock = new StepClock();
        run.Run(clock);
        return clock.Median;
    }
}
