using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Optim;
using Espalier.Training;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier compress`: a convolutional network, made smaller for good.</summary>
internal static class CompressVerb
{
    private static readonly Argument<string?> Method = new("method")
    {
        Description = "How channels are chosen; --list names all", Arity = ArgumentArity.ZeroOrOne,
    };

    private static readonly Option<bool> List = Opt.Flag("--list", "Name every method, what it does and its settings");
    private static readonly Option<string?> ModelType = Opt.Text("--model-type",
        "Network by name, to train first, or of a published file: resnet20, cifar-vgg16, ...", "NAME");
    private static readonly Option<double?> Width =
        Opt.Number("--width", "Of a network to train first: its channel counts times this [1]", 0.01, 4.0, "SHARE");
    private static readonly Option<long?> PretrainSteps =
        Opt.Number("--pretrain-steps", "Steps of ordinary training before the method begins [0]", 0, long.MaxValue);
    private static readonly Option<string?> Output = Opt.Text("--output", "Where the smaller network goes", "FILE.safetensors");
    private static readonly Option<double?> Ratio = Number("--ratio", "Share of the channels to remove", "SHARE");
    private static readonly Option<double?> Threshold = Number("--score-threshold", "Remove channels of at most this score", "SCORE");
    private static readonly Option<double?> TargetFlops =
        Number("--target-flops", "Share of the multiply-adds to keep [0.5 where no other target is given]", "SHARE");
    private static readonly Option<double?> TargetLatency =
        Number("--target-latency", "Milliseconds that one image may take on this machine", "MS");
    private static readonly Option<bool> Global = Opt.Flag("--global", "Let all layers compete; else each loses the same share");
    private static readonly Option<int?> RoundTo = Opt.Number("--round-to", "Keep multiples of this many channels [1]", 1, 4096);
    private static readonly Option<int?> MinKept = Opt.Number("--min-kept", "Fewest channels that a layer keeps [2]", 1, 1 << 20);
    private static readonly Option<string?> Keep = Opt.Text("--keep", "Layers to leave alone, with * and ?", "PATTERN,PATTERN");
    private static readonly Option<bool> Streams = Opt.Flag("--streams", "Prune residual streams as well, all members together");
    private static readonly Option<int?> Rounds = Opt.Number("--rounds", "Rounds of removing and fine-tuning [1]", 1, 1000);
    private static readonly Option<string?> Schedule = Opt.Choice("--schedule", "How rounds get to the target [linear]", "linear", "agp");
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
    private static readonly Option<string?> Set = Opt.Text("--set", "Settings of the method", "NAME=VALUE,NAME=VALUE");
    private static readonly Option<bool> MoveConstants = Opt.Flag("--move-constants",
        "Move what removed channels would still emit into the next layer; exact but for padded borders");
    private static readonly Option<bool> Plan = Opt.Flag("--plan", "Only print what would go, and the shapes and MACs then");
    private static readonly Option<string?> PlanFile = Opt.Text("--plan-file", "Save the (last) plan", "FILE.json");
    private static readonly Option<ulong?> Seed = Opt.Number("--seed", "Of everything random [42]", 0UL, ulong.MaxValue);

    public static Command Create(Session session)
    {
        var verb = new Verb("compress", "Removes channels of a convolutional network for good, and trains what is left.",
            "espalier compress l1 --model-type resnet20 --data fashion-mnist --pretrain-steps 2000 --target-flops 0.5 "
                + "--fine-tune-steps 1000 --output small.safetensors",
            "espalier compress l1 --model small.safetensors --ratio 0.3 --plan", "espalier compress --list")
        {
            Shared.Model, ModelType, Width, Shared.ImageSize, Shared.Data, Shared.DataDir, PretrainSteps, Output, Ratio, Threshold,
            TargetFlops, TargetLatency, Global, RoundTo, MinKept, Keep, Streams, Rounds, Schedule, TrainSteps, FineTuneSteps,
            BatchSize, Optimizer, LearningRate, WeightDecay, Set, MoveConstants, Plan, PlanFile, Seed, List,
        };
        verb.Arguments.Add(Method);
        verb.SetAction(parse => Run(parse, session));
        return verb;
    }

    private static int Run(ParseResult parse, Session session)
    {
        if (parse.GetValue(List))
        {
            foreach (ICompressionMethod method in CompressionMethods.All)
            {
                session.Terminal.Line($"{method.Name,-12} {method.Purpose}");
                foreach (MethodSetting s in method.Settings)
                    session.Terminal.Line($"{"",-12}   --set {s.Name}={s.Default}: {s.Meaning}");
            }
            return ExitCodes.Done;
        }
        string name = parse.GetValue(Method)
            ?? throw new EspalierException("say how to compress: espalier compress METHOD ...; --list names the methods");
        new CompressRun(Read(parse, CompressionMethods.Get(name)), session).Run();
        return ExitCodes.Done;
    }

    private static CompressPlan Read(ParseResult p, ICompressionMethod method)
    {
        double? flops = p.GetValue(TargetFlops);
        if (p.GetValue(Ratio) is null && p.GetValue(Threshold) is null && p.GetValue(TargetLatency) is null) flops ??= 0.5;
        string optimizer = p.GetValue(Optimizer) ?? "sgd";
        return new CompressPlan
        {
            Method = method,
            Model = p.GetValue(Shared.Model),
            ModelType = p.GetValue(ModelType),
            Width = p.GetValue(Width) ?? 1,
            ImageSize = p.GetValue(Shared.ImageSize),
            PretrainSteps = p.GetValue(PretrainSteps) ?? 0,
            Data = p.GetValue(Shared.Data),
            DataDir = p.GetValue(Shared.DataDir),
            Output = p.GetValue(Output),
            PlanFile = p.GetValue(PlanFile),
            PlanOnly = p.GetValue(Plan),
            Options = new CompressionOptions
            {
                Selection = new SelectionOptions
                {
                    Ratio = p.GetValue(Ratio), Threshold = p.GetValue(Threshold), TargetFlops = flops,
                    TargetLatency = p.GetValue(TargetLatency), Global = p.GetValue(Global), RoundTo = p.GetValue(RoundTo) ?? 1,
                    MinKept = p.GetValue(MinKept) ?? 2, Streams = p.GetValue(Streams),
                    Keep = p.GetValue(Keep)?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [],
                }.Checked(),
                Rounds = p.GetValue(Rounds) ?? 1,
                Schedule = p.GetValue(Schedule) == "agp" ? PruningSchedule.Agp : PruningSchedule.Linear,
                TrainSteps = p.GetValue(TrainSteps) ?? 0,
                FineTuneSteps = p.GetValue(FineTuneSteps) ?? 0,
                MoveConstants = p.GetValue(MoveConstants),
                Seed = p.GetValue(Seed) ?? 42,
                Settings = Settings(p.GetValue(Set), method),
                Training = new TrainOptions
                {
                    BatchSize = p.GetValue(BatchSize) ?? 64, EvalBatchSize = 64, Optimizer = optimizer,
                    LearningRate = p.GetValue(LearningRate) ?? Optimizers.DefaultLearningRate(optimizer),
                    WeightDecay = p.GetValue(WeightDecay) ?? 5e-4f,
                },
            },
        };
    }

    private static Dictionary<string, string> Settings(string? text, ICompressionMethod method)
    {
        var settings = new Dictionary<string, string>();
        foreach (string part in text?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [])
        {
            string[] sides = part.Split('=', 2);
            if (sides.Length != 2 || !method.Settings.Any(s => s.Name == sides[0]))
                throw new EspalierException($"--set {part}: {method.Name} has "
                    + (method.Settings.Count == 0 ? "no settings" : $"the settings {string.Join(", ", method.Settings.Select(s => s.Name))}"));
            settings[sides[0]] = sides[1];
        }
        return settings;
    }

    private static Option<double?> Number(string name, string description, string help) =>
        Opt.Number(name, description, double.MinValue, double.MaxValue, help);
}
