using System.CommandLine;
using Espalier.Cli;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Data;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>
/// The runs behind APT's table of results: a plain transformer and APT at two budgets and as published, all with the same
/// optimiser, schedule and number of steps, once for each seed. A run that is finished in the folder is not trained again.
/// </summary>
internal sealed class AptReproduction(CommandContext context, string folder, string? dataDir, long steps, int batchSize)
{
    /// <summary>The preset of all models.</summary>
    public const string Network = "vit-small-28";

    /// <summary>What is compared, with the options of `train` that make the difference; the first is the reference.</summary>
    public static IReadOnlyList<(string Id, string Name, string Flags)> Methods { get; } =
    [
        ("vit", "plain ViT", "--method none"),
        ("apt-half", "APT, budget 0.45", "--target-flops 0.45"),
        ("apt-quarter", "APT, budget 0.28", "--target-flops 0.28"),
        ("apt-faithful", "APT, original code", "--faithful --dropout 0"),
    ];

    public long Steps => steps;

    public int BatchSize => batchSize;

    public string Checkpoint(string method, ulong seed) => new RunFolder(folder, RunName(method, seed)).Model;

    /// <summary>The command whose run it is. The weights of the last step count, so none is held out to choose by.</summary>
    public string Command(string method, ulong seed) =>
        $"espalier train --data fashion-mnist --model-type {Network} {Methods.Single(m => m.Id == method).Flags} "
        + $"--optimizer adamw --learning-rate 0.001 --train-batch-size {batchSize} --num-steps {steps} "
        + $"--no-augment --hold-out 0 --eval-every 0 --seed {seed} --name {RunName(method, seed)}";

    /// <summary>Trains every method with this seed.</summary>
    /// <returns>False where it was interrupted.</returns>
    public bool Train(ulong seed)
    {
        DatasetPair data = Datasets.Open("fashion-mnist", dataDir);
        foreach (var (id, name, _) in Methods)
        {
            context.Terminal.Line($"{name}, seed {seed}: {Command(id, seed)}");
            using var run = new TrainRun(Plan(id, seed), data, context);
            RunOrigin.NoteUnlessDone(new RunFolder(folder, RunName(id, seed)), run.TotalSteps);
            if (!run.Run().Completed) return false;
        }
        return true;
    }

    /// <summary>What the command says, with the files in this folder.</summary>
    internal TrainPlan Plan(string method, ulong seed)
    {
        var flags = new TrainFlags();
        TrainPlan plan = flags.Read(flags.AddTo(new Command("train")).Parse(Command(method, seed)["espalier train ".Length..]));
        return plan with
        {
            DataDir = dataDir,
            Options = plan.Options with { OutputDir = folder, EvalBatchSize = 100, Resume = true },
        };
    }

    /// <summary>What made the runs of some seeds, as a sentence or some.</summary>
    public string Made(IEnumerable<ulong> seeds) =>
        RunOrigin.Sentence(folder, from m in Methods from s in seeds select RunName(m.Id, s));

    /// <summary>A name for a run's files.</summary>
    private static string RunName(string method, ulong seed) => $"{method}-{seed}";
}
