using System.CommandLine;
using System.Globalization;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Models;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Cli.Options;

/// <summary>The options of `train`, under the names that APT's original script has where it has them.</summary>
internal sealed class TrainFlags
{
    /// <summary>Where runs go.</summary>
    public const string UsualFolder = "output";

    private const double PassesOfPhotos = 30;

    private readonly Option<string?> name =
        Opt.Text("--name", "Name of the run and of its files; by default the method's", "NAME");
    private readonly Option<string?> method =
        Opt.Choice("--method", "What is trained: APT (the usual for a vision transformer) or the plain model", "apt", "none");
    private readonly Option<string?> init = Opt.Text("--init",
        "Start from this checkpoint, pruned or whole, in any format; a head for other classes is replaced", "CHECKPOINT");
    private readonly Option<string?> pretrained = Opt.Text("--pretrained",
        "Start from this backbone with a new classifier, which is zero in a transformer", "CHECKPOINT", "--pretrained-dir");
    private readonly Option<string?> initialWeights = Opt.Choice("--initial-weights", "How a new transformer's weights begin: as "
        + "published, or with attention to what is near and alike, which learns more in short runs [published]", "published", "mimetic");
    private readonly Option<int?> batchSize = Opt.Number("--train-batch-size", "Images an optimiser step [72; 32 for folders]", 1, 1 << 20);
    private readonly Option<int?> accumulation = Opt.Number("--gradient-accumulation-steps",
        "Micro-batches that a step's images are computed in [1]", 1, 1 << 20);
    private readonly Option<int?> evalBatchSize =
        Opt.Number("--eval-batch-size", "Images a batch in evaluation [32]", 1, 1 << 20);
    private readonly Option<long?> evalEvery = Opt.Number("--eval-every",
        "Steps between evaluations; 0 for one at the end [500; for folders ten times in the run]", 0, long.MaxValue);
    private readonly Option<int?> evalLimit = Opt.Number("--eval-limit", "Evaluate on the first N images only", 1, int.MaxValue);
    private readonly Option<double?> holdOut =
        Opt.Number("--hold-out", "Share of the training images that is kept to choose the best "
        + "checkpoint by; 0 chooses by the test images [0.05, or 0 without shuffling or below 1,000 images]", 0.0, 0.9, "SHARE");
    private readonly Option<long?> steps = Opt.Number("--num-steps", "Optimiser steps [10000]", 1, long.MaxValue);
    private readonly Option<double?> epochs =
        Opt.Number("--epochs", "Passes over the training images, in the place of "
        + "--num-steps [for folders of images 30, from a checkpoint 10]", 0.001, 1e6);
    private readonly Option<long?> warmup = Opt.Number("--warmup-steps",
        "Steps until the learning rate is full [a twentieth of the run, at most 500]", 0, long.MaxValue);
    private readonly Option<string?> decay = Opt.Choice("--decay-type", "Schedule of the learning rate [cosine]",
        [.. Schedules.Names]);
    private readonly Option<string?> optimizer =
        Opt.Choice("--optimizer", "sgd has momentum 0.9; lookahead is around it [sgd]", [.. Optimizers.Names]);
    private readonly Option<float?> learningRate =
        Opt.Number("--learning-rate", "[0.03 for SGD, 0.001 for the Adams]", 0f, float.MaxValue, "RATE");
    private readonly Option<float?> weightDecay = Opt.Number("--weight-decay", "[0]", 0f, float.MaxValue, "RATE");
    private readonly Option<float?> maxGradNorm =
        Opt.Number("--max-grad-norm", "Limit of the gradients' norm; 0 for none [1]", 0f, float.MaxValue);
    private readonly Option<double?> ema = Opt.Number("--ema",
        "Decay of the weights' averages, which are then what is evaluated and saved", 0.0, 0.9999999, "DECAY");
    private readonly Option<string?> amp = Opt.Choice("--amp",
        "Numbers that linear layers multiply in while training: bf16 where the processor has it [none]", "none", "bf16");
    private readonly Option<bool> checkpointActivations = Opt.Flag("--checkpoint-activations",
        "Keep only what passes between blocks and compute the rest again in the backward pass: less memory, more time, "
        + "the same weights");
    private readonly Option<bool> syncBatchNorm = Opt.Flag("--sync-bn",
        "Behind mpirun: batch norms take the statistics of all processes' images, not of their own");
    private readonly Option<float?> dropout =
        Opt.Number("--dropout", "[0.1 for the published models, 0 for small and own ones]", 0f, 0.99f, "RATE");
    private readonly Option<bool> noShuffle = Opt.Flag("--no-shuffle", "Take the training images in the data set's order");
    private readonly Option<ulong?> seed = Opt.Number("--seed", "Of everything random [42]", 0UL, ulong.MaxValue);
    private readonly Option<double?> freeze = Opt.Number("--freeze",
        "Passes over the training images in which only the new head is trained, before everything is [0]", 0.0, 1e6, "PASSES");
    private readonly Option<bool> overwrite = Opt.Flag("--overwrite", "Begin again where there is a run of this name already");
    private readonly Option<long?> checkpointEvery = Opt.Number("--checkpoint-every",
        "Steps between saves of the training state; 0 for one at the end [500]", 0, long.MaxValue);
    private readonly Option<long?> logEvery =
        Opt.Number("--log-every", "Steps between points of the curves [10]", 1, long.MaxValue);

    private readonly Option<float?> targetFlops = Opt.Number("--target-flops",
        "Share of the dense model's multiply-adds that a pruned pass may spend; training steers there", 0.001f, 1f, "SHARE");
    private readonly Option<float?> rewardMargin = Opt.Number("--reward-margin",
        "A token is worthless where dropping it costs the true class less probability than this [0]", -1f, 1f, "P");
    private readonly Option<float?> plainLoss =
        Opt.Number("--plain-loss", "Weight of the unpruned pass's loss [1 from scratch; 0, the "
        + "published procedure, with --init or --pretrained]", 0f, 1000f, "WEIGHT");
    private readonly Option<float?> selfDistill = Opt.Number("--self-distill",
        "How much of the pruned pass's target is what the unpruned pass says [0.5 from scratch, else 0]", 0f, 1f, "SHARE");
    private readonly Option<float?> pruneFrom = Opt.Number("--prune-from", "Share of the run in which only the unpruned model "
        + "is trained, before the agents begin [0.2 from scratch, else 0]", 0f, 1f, "SHARE");
    private readonly Option<string?> reward = Opt.Choice("--reward", "What an agent is paid by: the answer staying as it was, or the true "
        + "class's probability, as published [agreement with --init or --pretrained and --target-flops, else true-class]", "agreement", "true-class");
    private readonly Option<string?> clip =
        Opt.Choice("--clip", "Limit the norm of backbone and agents each on its own (groups), or "
        + "jointly [groups from scratch; joint, the published procedure, with --init or --pretrained]", "groups", "joint");
    private readonly Option<float?> exploration = Opt.Number("--exploration",
        "Probability that a probe drops a random token and not its agent's choice [0.5]", 0f, 1f, "P");
    private readonly Option<int?> probes = Opt.Number("--probes", "Probes an image and agent in each step [1]", 1, 1024);
    private readonly Option<string?> context = Opt.Choice("--agent-context",
        "Train agents on unpruned features, on what earlier agents leave, or on what they themselves leave, too [acting with "
        + "--reward agreement, else plain]", "plain", "pruned", "acting");
    private readonly Option<bool> faithful = Opt.Flag("--faithful", "APT's original code with its defects, for comparisons");
    private readonly Option<float?> keepBias = Opt.Number("--keep-bias",
        "Added to new agents' \"keep\" logit: an untrained agent drops less [0]", -100f, 100f, "LOGIT");

    public Command AddTo(Command verb)
    {
        foreach (Option option in (Option[])[RecipeFile.Flag,
            Shared.Data, Shared.DataDir, Shared.Strict, method, name, Shared.OutputDir,
            Shared.ModelType, Shared.Config, Shared.ImageSize, Shared.Width, Shared.Preprocess, init, pretrained,
            Shared.Averaged, initialWeights,
            steps, epochs, freeze,
            batchSize, accumulation, optimizer, learningRate, decay, warmup, weightDecay, maxGradNorm, Shared.TrainOnly,
            ema, amp, checkpointActivations, syncBatchNorm, dropout,
            .. RecipeFlags.All, .. AugmentFlags.All, noShuffle, seed,
            evalEvery, evalBatchSize, evalLimit, holdOut, checkpointEvery, logEvery, Shared.Resume, overwrite,
            targetFlops, rewardMargin, plainLoss, selfDistill, pruneFrom, reward, clip, exploration, probes, context, keepBias,
            faithful])
        {
            verb.Options.Add(option);
        }
        return verb;
    }

    public TrainPlan Read(ParseResult p)
    {
        bool apt = p.GetValue(method) != "none", scratch = p.GetValue(init) is null && p.GetValue(pretrained) is null;
        if (p.GetValue(init) is not null && p.GetValue(pretrained) is not null)
            throw new EspalierException("--init and --pretrained both say where to start; give one of them");
        if (p.GetValue(steps) is not null && p.GetValue(epochs) is not null)
            throw new EspalierException("--num-steps and --epochs both say how long to train; give one of them");
        string? start = p.GetValue(init) ?? p.GetValue(pretrained);
        if (p.GetValue(freeze) is > 0 && start is null)
            throw new EspalierException($"{freeze.Name} holds a trained backbone still; say which with --pretrained FILE");
        if (p.GetValue(Shared.Averaged) && start is null)
            throw new EspalierException($"{Shared.Averaged.Name} is of the file to start from; say which with --init or --pretrained FILE");
        if (p.GetValue(initialWeights) is not null && start is not null)
            throw new EspalierException($"{initialWeights.Name} is of a new network, and {start} has weights; give one of them");
        string data = DataChoice.Name(p.GetValue(Shared.Data), p.GetValue(Shared.DataDir), "fashion-mnist")!;
        bool folder = ModelChoice.IsFolder(data);
        (string? type, int? size) = (p.GetValue(Shared.ModelType), p.GetValue(Shared.ImageSize));
        if (folder && start is null && type is null && p.GetValue(Shared.Config) is null)
            (type, size) = ModelChoice.UsualOfPhotos(size, p.GetValue(method) == "apt" || Given(p, [initialWeights, .. AptOnly]) is not null);
        bool cnn = !ModelChoice.IsTransformer(type, start);
        if (cnn) RefuseTransformerOnly(p, start ?? type!);
        else if (p.GetValue(Shared.Width) is not null) throw ModelChoice.NoWidth(p.GetValue(Shared.ModelType) ?? "the model");
        apt &= !cnn;
        if (!apt) RefuseAptOnly(p, cnn);
        else RefuseRecipe(p);
        return new TrainPlan
        {
            Method = apt ? ReadMethod(p, scratch) : null,
            Data = data,
            Strict = p.GetValue(Shared.Strict),
            DataDir = p.GetValue(Shared.DataDir),
            Config = p.GetValue(Shared.Config),
            ModelType = type,
            ImageSize = size,
            Preprocess = p.GetValue(Shared.Preprocess),
            IsTransformer = !cnn,
            Start = p.GetValue(initialWeights) == "mimetic" ? VitStart.Mimetic : VitStart.Published,
            Width = p.GetValue(Shared.Width),
            Init = p.GetValue(init),
            Pretrained = p.GetValue(pretrained),
            AveragedWeights = p.GetValue(Shared.Averaged),
            Dropout = p.GetValue(dropout),
            Recipe = RecipeFlags.Read(p),
            Augmentation = AugmentFlags.Read(p),
            HoldOut = p.GetValue(holdOut) ?? (p.GetValue(faithful) ? 0 : null),
            EvalLimit = p.GetValue(evalLimit),
            Epochs = p.GetValue(epochs)
                ?? (folder && p.GetValue(steps) is null ? start is null ? PassesOfPhotos : PassesOfPhotos / 3 : null),
            Freeze = p.GetValue(freeze),
            Overwrite = p.GetValue(overwrite),
            BatchFollows = folder && p.GetValue(batchSize) is null,
            EvaluationFollows = folder && p.GetValue(evalEvery) is null,
            Options = ReadTraining(p, apt ? "apt" : cnn ? "cnn" : "vit") with { ClipGroups = apt
                && (p.GetValue(clip) is { } c ? c == "groups" : scratch && !p.GetValue(faithful)) },
        };
    }

    private TrainOptions ReadTraining(ParseResult p, string usualName)
    {
        var defaults = new TrainOptions();
        string optimiser = p.GetValue(optimizer) ?? defaults.Optimizer;
        return defaults with
        {
            Name = p.GetValue(name) ?? usualName,
            OutputDir = p.GetValue(Shared.OutputDir) ?? UsualFolder,
            Steps = p.GetValue(steps) ?? defaults.Steps,
            BatchSize = p.GetValue(batchSize) ?? defaults.BatchSize,
            GradientAccumulationSteps = p.GetValue(accumulation) ?? defaults.GradientAccumulationSteps,
            EvalBatchSize = p.GetValue(evalBatchSize) ?? defaults.EvalBatchSize,
            EvalEvery = p.GetValue(evalEvery) ?? defaults.EvalEvery,
            CheckpointEvery = p.GetValue(checkpointEvery) ?? defaults.CheckpointEvery,
            LogEvery = p.GetValue(logEvery) ?? defaults.LogEvery,
            Optimizer = optimiser,
            LearningRate = p.GetValue(learningRate) ?? Optimizers.DefaultLearningRate(optimiser),
            WeightDecay = p.GetValue(weightDecay) ?? defaults.WeightDecay,
            Schedule = p.GetValue(decay) ?? defaults.Schedule,
            WarmupSteps = p.GetValue(warmup),
            MaxGradNorm = p.GetValue(maxGradNorm) ?? defaults.MaxGradNorm,
            TrainOnly = Opt.List(p.GetValue(Shared.TrainOnly)),
            EmaDecay = p.GetValue(ema),
            Precision = p.GetValue(amp) == "bf16" ? Precision.Bf16 : Precision.Fp32,
            CheckpointActivations = p.GetValue(checkpointActivations),
            SyncBatchNorm = p.GetValue(syncBatchNorm),
            Seed = p.GetValue(seed) ?? defaults.Seed,
            Shuffle = !p.GetValue(noShuffle),
            Resume = p.GetValue(Shared.Resume),
        };
    }

    /// <summary>The method with what its flags say. A backbone that works already is not taught the unpruned pass by the published
    /// procedure; a new one must be.</summary>
    private CompressionMethod ReadMethod(ParseResult p, bool scratch)
    {
        bool original = p.GetValue(faithful);
        CompressionMethod result = CompressionMethods.Get("apt");
        result = ((ITrainingMethod)result).UsualFor(scratch && !original);
        Set("exploration", p.GetValue(exploration));
        Set("reward-margin", p.GetValue(rewardMargin));
        Set("budget", p.GetValue(targetFlops));
        Set("plain-loss", p.GetValue(plainLoss));
        Set("self-distill", p.GetValue(selfDistill));
        Set("prune-from", p.GetValue(pruneFrom));
        if ((p.GetValue(reward) ?? (original ? "true-class" : null)) is { } paid) result = result.Set("reward", paid);
        Set("probes", p.GetValue(probes));
        Set("keep-bias", p.GetValue(keepBias));
        if (p.GetValue(context) is { } company) result = result.Set("context", company);
        if (original) result = result.Set("reward-dropout", "yes").Set("explore-batch-range", "yes");
        if (p.GetValue(Shared.Config) is { } file && VitConfig.Read(file).PruneLayers is { Length: > 0 } layers)
            result = result.Set("layers", string.Join('+', layers));
        return result;

        void Set(string name, IFormattable? value)
        {
            if (value is not null) result = result.Set(name, value.ToString(null, CultureInfo.InvariantCulture));
        }
    }

    private void RefuseTransformerOnly(ParseResult p, string source)
    {
        string? wrong = p.GetValue(method) == "apt" ? "--method apt drops tokens, and it has none; leave it out"
            : p.GetValue(Shared.Config) is not null ? "--config is of transformers; use --model-type, --width and --img-size"
            : p.GetValue(initialWeights) is not null ? $"{initialWeights.Name} is of transformers; leave it out" : null;
        if (wrong is not null) throw new EspalierException($"{source}: is a convolutional network: {wrong}");
    }

    private Option[] AptOnly =>
        [targetFlops, rewardMargin, plainLoss, selfDistill, pruneFrom, reward, clip, exploration, probes, context, keepBias, faithful];

    private static Option? Given(ParseResult p, IEnumerable<Option> options) =>
        options.FirstOrDefault(o => p.GetResult(o) is { Implicit: false });

    private void RefuseAptOnly(ParseResult p, bool cnn)
    {
        if (Given(p, AptOnly) is { } given)
            throw new EspalierException($"{given.Name} is an option of --method apt; leave it out, or "
                + (cnn ? "make the network smaller with 'espalier compress'" : "train APT"));
    }

    private static void RefuseRecipe(ParseResult p)
    {
        if (Given(p, RecipeFlags.All.Where(o => o != RecipeFlags.LabelSmoothing)) is { } given)
            throw new EspalierException($"{given.Name} is of plain training; leave it out, or give --method none");
    }
}
