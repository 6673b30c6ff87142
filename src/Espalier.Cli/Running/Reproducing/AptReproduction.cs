using Espalier.Compression.Apt;
using Espalier.Data;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>
/// The runs behind APT's table of results: a plain transformer and APT at two budgets and as published, all with the same
/// optimiser, schedule and number of steps, once for each seed. A run that is finished in the folder is not trained again.
/// </summary>
internal sealed class AptReproduction(Session session, string folder, string? dataDir, long steps, int batchSize)
{
    private const float LearningRate = 1e-3f;

    /// <summary>What is compared; the first is the reference. A null method is the plain transformer.</summary>
    public static IReadOnlyList<(string Id, string Name, AptOptions? Method)> Methods { get; } =
    [
        ("vit", "plain ViT", null),
        ("apt-half", "APT, budget 0.45", AptOptions.FromScratch with { TargetFlops = 0.45f }),
        ("apt-quarter", "APT, budget 0.28", AptOptions.FromScratch with { TargetFlops = 0.28f }),
        ("apt-faithful", "APT, original code", AptOptions.Faithful),
    ];

    /// <summary>A name for a run's files.</summary>
    public static string RunName(string method, ulong seed) => $"{method}-{seed}";

    public string Checkpoint(string method, ulong seed) => new RunFolder(folder, RunName(method, seed)).Model;

    /// <summary>The same run as `train` would be told to do it.</summary>
    public string Command(AptOptions? method, string name, ulong seed)
    {
        string own = method switch
        {
            null => "--method none",
            { TargetFlops: { } share } => string.Create(System.Globalization.CultureInfo.InvariantCulture,
                $"--target-flops {share}"),
            _ => "--faithful --dropout 0",
        };
        return $"espalier train --data fashion-mnist --model-type vit-small-28 {own} --optimizer adamw --learning-rate 0.001 "
            + $"--train-batch-size {batchSize} --num-steps {steps} --no-augment --hold-out 0 --eval-every 0 --seed {seed} --name {RunName(name, seed)}";
    }

    /// <summary>Trains every method with this seed.</summary>
    /// <returns>False where it was interrupted.</returns>
    public bool Train(ulong seed)
    {
        DatasetPair data = Datasets.Open("fashion-mnist", dataDir);
        foreach (var (id, name, method) in Methods)
        {
            session.Terminal.Line($"{name}, seed {seed}: {Command(method, id, seed)}");
            using var run = new TrainRun(Plan(method, id, seed), data, session);
            if (!run.Run().Completed) return false;
        }
        return true;
    }

    private TrainPlan Plan(AptOptions? method, string id, ulong seed) => new()
    {
        Apt = method,
        Data = "fashion-mnist",
        DataDir = dataDir,
        ModelType = "vit-small-28",
        Augmentation = Augmentation.None,
        Dropout = 0,
        // No checkpoint is chosen: the weights of the last step count, so the whole training split can be learnt from.
        HoldOut = 0,
        Options = new TrainOptions
        {
            Name = RunName(id, seed),
            OutputDir = folder,
            Steps = steps,
            BatchSize = batchSize,
            EvalBatchSize = 100,
            EvalEvery = 0,
            Optimizer = "adamw",
            LearningRate = LearningRate,
            Seed = seed,
            ClipGroups = method is { PlainLoss: > 0 },
            Resume = true,
        },
    };
}
