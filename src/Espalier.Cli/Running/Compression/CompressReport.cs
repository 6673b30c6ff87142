using System.Globalization;
using Espalier.Benchmarking;
using Espalier.Compression;
using Espalier.Reporting;
using Espalier.Tensors.Threading;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>What a run of `compress` writes down.</summary>
internal static class CompressReport
{
    /// <summary>Processor and threads, for every report.</summary>
    public static string Machine
    {
        get
        {
            MachineInfo machine = MachineInfo.Collect();
            return $"{machine.Cpu}, {Workers.Threads} threads";
        }
    }

    public static CompressionReport Of(CompressPlan plan, CompressionJob job, CompressInput input, Comparison comparison,
        IReadOnlyList<string> arguments) => new()
        {
            Method = plan.Method.Name,
            Purpose = plan.Method.Purpose,
            Network = input.Name,
            Dataset = $"{input.Pair.Info.Name}, {input.Pair.Test.Count} " + (input.IsLabelled ? "test images"
                : "images without labels: accuracy is agreement with the network before"),
            Seed = plan.Method.Seed,
            Machine = Machine,
            CommandLine = "espalier " + string.Join(' ', arguments),
            Version = VersionAction.Text,
            Options = Options(plan),
            Before = comparison.Before,
            After = comparison.After,
            Groups = comparison.Groups,
            Selections = job.Selections,
            Recoveries = job.Recoveries,
            Stages = job.Stages,
        };

    private static OrderedDictionary<string, string> Options(CompressPlan plan)
    {
        CompressionMethod o = plan.Method;
        (SelectionOptions s, TrainOptions t, Recipe r) = (o.Selection, o.Training, plan.Recipe);
        var options = new OrderedDictionary<string, string>
        {
            ["how much"] = s switch
            {
                _ when !o.TakesTarget => "no shapes change",
                _ when !o.HasTarget && o is TokenMethod { HasOwnNumber: true } => "as its own setting says",
                { Ratio: { } x } => $"{x} of the channels removed",
                { Threshold: { } x } => $"scores up to {Text(x)} removed",
                { TargetFlops: { } x } => $"{Text(x)} of the multiply-adds kept",
                { TargetTime: { } x } => $"{Text(x)} of the time for {s.TimeBatch} images",
                _ => $"{Text(s.TargetLatency!.Value)} ms for {s.TimeBatch} images",
            },
            ["layers"] = (s.Isomorphic ? "compete where alike" : s.Global ? "compete" : "lose the same share")
                + (s.Streams ? ", residual streams too" : ""),
            ["what goes"] = s.Groups.ToString() + (s.UnequalHeads ? ", heads of unequal width" : ""),
            ["left alone"] = s.Keep.Count == 0 ? "none" : string.Join(", ", s.Keep),
            ["kept at least"] = $"{s.MinKept} channels, multiples of {s.Multiple}",
            ["rounds"] = $"{o.Rounds}, {o.Schedule.ToString().ToLowerInvariant()}",
            ["constants"] = o.MoveConstants ? "moved into the next layer" : "dropped",
            ["recovery"] = o.Recover is { } recover ? $"without training, from {recover.Images} images at most" : "none",
            ["steps"] = $"{plan.PretrainSteps} before, {o.TrainSteps} in the method, {o.FineTuneSteps} after",
            ["optimiser"] = $"{t.Optimizer}, rate {Text(t.LearningRate)}, decay {Text(t.WeightDecay)}, "
                + $"{t.BatchSize} images a step",
            ["schedule"] = t.Schedule + (t.WarmupSteps is { } w ? $", {w} steps of warm-up" : ""),
            ["trained"] = t.TrainOnly.Count == 0 ? "everything" : string.Join(", ", t.TrainOnly),
            ["label smoothing"] = Text(r.LabelSmoothing),
            ["mixup, cutmix"] = $"{Text(r.Mixing.Mixup)}, {Text(r.Mixing.CutMix)}",
            ["teacher"] = r.Teacher is null ? "none"
                : $"{r.Teacher}, {Distillation.Names[(int)r.Distillation.Kind]}, weight {Text(r.Distillation.Weight)}, "
                    + $"temperature {Text(r.Distillation.Temperature)}",
        };
        foreach (MethodSetting setting in o.Settings)
            options[$"--set {setting.Name}"] = setting.Of(o);
        return options;
    }

    private static string Text(IFormattable value) => value.ToString(null, CultureInfo.InvariantCulture);
}
