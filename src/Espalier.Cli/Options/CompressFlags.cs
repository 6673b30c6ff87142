using System.CommandLine;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Optim;
using Espalier.Training;

namespace Espalier.Cli.Options;

/// <summary>The options of `compress`: what from, how much, how it is trained, what is written.</summary>
internal static class CompressFlags
{
    private static readonly Option<long?> PretrainSteps =
        Opt.Number("--pretrain-steps", "Steps of ordinary training before the method begins [0]", 0, long.MaxValue);
    private static readonly Option<string?> Output = Opt.Text("--output",
        "Where the smaller network goes [output/NETWORK-METHOD.safetensors, with a number where that is there]", "FILE.safetensors");
    private static readonly Option<double[]> BudgetList = Opt.Numbers("--budgets",
        "For vit-slim, shares of the multiply-adds to keep, all by one search: a file each, --output with the share in its name",
        0.001, 0.999, "SHARE,SHARE");
    private static readonly Option<int?> Rounds = Opt.Number("--rounds", "Rounds of removing and fine-tuning [1]", 1, 1000);
    private static readonly Option<string?> Schedule = Opt.Choice("--schedule", "How rounds get to the target [linear]", "linear", "agp",
        "remaining");
    private static readonly Option<long?> TrainSteps =
        Opt.Number("--train-steps", "Steps that a method trains before it removes, where it does [0]", 0, long.MaxValue);
    private static readonly Option<long?> FineTuneSteps =
        Opt.Number("--fine-tune-steps", "Steps of training after the removal, over all rounds [0]", 0, long.MaxValue);
    private static readonly Option<int?> BatchSize = Opt.Number("--batch-size", "Images a training step [64]", 1, 1 << 16);
    private static readonly Option<string?> Optimizer =
        Opt.Choice("--optimizer", "Of all training [sgd]", [.. Optimizers.Names]);
    private static readonly Option<float?> LearningRate =
        Opt.Number("--learning-rate", "[0.03 for SGD, 0.001 for the Adams]", 0f, float.MaxValue, "RATE");
    private static readonly Option<float?> WeightDecay = Opt.Number("--weight-decay", "[0.0005]", 0f, float.MaxValue, "RATE");
    private static readonly Option<string?> Decay =
        Opt.Choice("--decay-type", "Schedule of the learning rate in each training [cosine]", [.. Schedules.Names]);
    private static readonly Option<long?> Warmup = Opt.Number("--warmup-steps",
        "Steps until the learning rate is full [a twentieth of each training, at most 500]", 0, long.MaxValue);
    private static readonly Option<string?> RunDir = Opt.Text("--output-dir",
        "Keep the state of all training here, for --resume", "DIR");
    private static readonly Option<long?> CheckpointEvery = Opt.Number("--checkpoint-every",
        "Steps between saves of the training state; 0 for one at the end of each training [500]", 0, long.MaxValue);
    private static readonly Option<bool> MoveConstants = Opt.Flag("--move-constants",
        "Move what removed channels would still emit into the next layer; exact but for padded borders");
    private static readonly Option<bool> Recover = Opt.Flag("--recover",
        "After a removal fit what read the channels to give what it gave, in closed form: no labels, no training");
    private static readonly Option<string?> Calibration = Opt.Text("--calibration",
        "Images for --recover and for scores by activations, without labels; by default the training images", "DIR");
    private static readonly Option<int?> CalibrationImages =
        Opt.Number("--calibration-images", "Of these how many --recover looks at [512]", 1, 1 << 20);
    private static readonly Option<bool> Plan = Opt.Flag("--plan", "Only print what would go, and the shapes and MACs then");
    private static readonly Option<string?> PlanFile = Opt.Text("--plan-file", "Save the (last) plan", "FILE.json");

    public static Option<string?> ModelType { get; } = Opt.Network(
        "Network by name, to train first, or of a published file: resnet20, vit-tiny-28, ...");

    public static Option<string?> Report { get; } = Opt.Text("--report",
        "Write down what was done and found: a page with pictures of every layer, or data", "FILE.html|FILE.json");

    /// <summary>Settings of the method.</summary>
    public static Option<string?> Set { get; } = Opt.Text("--set", "Settings of the method", "NAME=VALUE,NAME=VALUE");

    public static Option<ulong?> Seed { get; } = Opt.Number("--seed", "Of everything random [42]", 0UL, ulong.MaxValue);

    public static IReadOnlyList<Option> All { get; } =
    [
        RecipeFile.Flag,
        Shared.Model, ModelType, Shared.Width, Shared.ImageSize, Shared.Preprocess, Shared.Data, Shared.DataDir, Shared.Strict, PretrainSteps,
        Output, .. SelectionFlags.All, BudgetList,
        Rounds, Schedule, TrainSteps, FineTuneSteps, BatchSize, Optimizer, LearningRate, WeightDecay,
        Decay, Warmup, Shared.TrainOnly, .. RecipeFlags.All, .. AugmentFlags.All, RunDir, CheckpointEvery, Shared.Resume, Set,
        MoveConstants, Recover, Calibration, CalibrationImages, Plan, PlanFile, Report, Seed,
    ];

    /// <summary>The budgets of one search; none where one target is enough.</summary>
    public static IReadOnlyList<double> Budgets(ParseResult p)
    {
        if (p.GetValue(BudgetList) is not { Length: > 0 } budgets) return [];
        return p.GetValue(Output) is not null ? budgets
            : throw new EspalierException($"{BudgetList.Name}: each has a file that is called after {Output.Name}; give it, too");
    }

    public static CompressPlan Read(ParseResult p, CompressionMethod method)
    {
        string optimizer = p.GetValue(Optimizer) ?? "sgd";
        if (p.GetValue(Shared.Resume) && p.GetValue(RunDir) is null)
            throw new EspalierException("--resume needs the folder of the run that stopped; give --output-dir DIR");
        if (p.GetValue(CalibrationImages) is not null && !p.GetValue(Recover))
            throw new EspalierException($"{CalibrationImages.Name} is of {Recover.Name}; give that, or --set images=N to a "
                + "method that looks at images");
        if (p.GetValue(Plan) && (p.GetValue(Report) is not null || p.GetValue(PretrainSteps) > 0))
            throw new EspalierException($"{Plan.Name} trains and measures nothing; leave {Report.Name} and {PretrainSteps.Name} out "
                + $"({PlanFile.Name} saves it)");
        return new CompressPlan
        {
            Source = ReadSource(p),
            Recipe = RecipeFlags.Read(p),
            PretrainSteps = p.GetValue(PretrainSteps) ?? 0,
            Output = p.GetValue(Output) ?? (p.GetValue(Plan) ? null : UsualOutput(ReadSource(p), method)),
            PlanFile = p.GetValue(PlanFile),
            Report = ReadReport(p),
            PlanOnly = p.GetValue(Plan),
            Method = ReadSettings(p, method) with
            {
                Selection = SelectionFlags.Read(p),
                Rounds = p.GetValue(Rounds) ?? 1,
                Schedule = p.GetValue(Schedule) switch
                {
                    "agp" => PruningSchedule.Agp,
                    "remaining" => PruningSchedule.Remaining,
                    _ => PruningSchedule.Linear,
                },
                TrainSteps = p.GetValue(TrainSteps) ?? 0,
                FineTuneSteps = p.GetValue(FineTuneSteps) ?? 0,
                MoveConstants = p.GetValue(MoveConstants),
                Recover = !p.GetValue(Recover) ? null
                    : p.GetValue(CalibrationImages) is { } images ? new RecoverOptions { Images = images } : new RecoverOptions(),
                Seed = p.GetValue(Seed) ?? 42,
                Training = new TrainOptions
                {
                    BatchSize = p.GetValue(BatchSize) ?? 64, EvalBatchSize = 64, Optimizer = optimizer,
                    LearningRate = p.GetValue(LearningRate) ?? Optimizers.DefaultLearningRate(optimizer),
                    WeightDecay = p.GetValue(WeightDecay) ?? 5e-4f,
                    Schedule = p.GetValue(Decay) ?? "cosine", WarmupSteps = p.GetValue(Warmup),
                    TrainOnly = Opt.List(p.GetValue(Shared.TrainOnly)),
                    OutputDir = p.GetValue(RunDir), Resume = p.GetValue(Shared.Resume), CheckpointEvery = p.GetValue(CheckpointEvery) ?? 500,
                },
            },
        };
    }

    /// <summary>A name that no file has: hours of training are not thrown away because nobody thought of one.</summary>
    private static string UsualOutput(CompressSource source, CompressionMethod method)
    {
        string stem = Path.Combine(TrainFlags.UsualFolder,
            $"{Path.GetFileNameWithoutExtension(source.Model) ?? source.ModelType}-{method.Name}");
        for (int i = 1; ; i++)
            if ((i == 1 ? stem : $"{stem}-{i}") + ".safetensors" is var file && !File.Exists(file)) return file;
    }

    public static CompressSource ReadSource(ParseResult p) => new()
    {
        Model = p.GetValue(Shared.Model), ModelType = p.GetValue(ModelType), Width = p.GetValue(Shared.Width),
        ImageSize = p.GetValue(Shared.ImageSize), Preprocess = p.GetValue(Shared.Preprocess),
        Data = p.GetValue(Shared.Data), DataDir = p.GetValue(Shared.DataDir), Strict = p.GetValue(Shared.Strict),
        Calibration = p.GetValue(Calibration), Augmentation = AugmentFlags.Read(p),
    };

    public static ReportFile? ReadReport(ParseResult p) => p.GetValue(Report) is { } path ? new ReportFile(path) : null;

    /// <summary>The method with what --set says.</summary>
    /// <exception cref="EspalierException">It has no such setting, or a value is not allowed.</exception>
    public static CompressionMethod ReadSettings(ParseResult p, CompressionMethod method)
    {
        foreach (string part in Opt.List(p.GetValue(Set)))
        {
            string[] sides = part.Split('=', 2);
            try
            {
                method = method.Set(sides[0], sides.ElementAtOrDefault(1) ?? "");
            }
            catch (EspalierException e)
            {
                throw new EspalierException($"{Set.Name} {e.Message}");
            }
        }
        return method;
    }
}
