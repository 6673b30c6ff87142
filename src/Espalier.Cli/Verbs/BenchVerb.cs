using System.CommandLine;
using Espalier.Benchmarking;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Formats;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier bench`: throughput and latency of a model.</summary>
internal static class BenchVerb
{
    private static readonly string[] Formats = ["table", "md", "csv", "json", "jsonl"];

    private static readonly Option<int[]> BatchSizes = Opt.Numbers("--batch-size", "Images a call [1,8]", 1, 1 << 16);
    // The same name as everywhere, but here several numbers of threads are compared.
    private static readonly Option<int[]> Threads =
        Opt.Numbers("--threads", "Threads that compute [1 and the number of processors]", 1, Workers.MaxThreads);
    private static readonly Option<string[]> Modes =
        Opt.Choices("--mode", "Forward pass, or training step: forward, backward and SGD [infer]", "infer", "train");
    private static readonly Option<bool> Pruned = Opt.Flag("--pruned", "Only the pruned passes of a model with agents");
    private static readonly Option<bool> Checkpoints = Opt.Flag("--checkpoint-activations",
        "With --mode train also steps that compute activations again in the backward pass, for their memory and time");
    private static readonly Option<bool> Dense = Opt.Flag("--dense", "Only the passes that keep every token");
    private static readonly Option<double[]> KeepShares = Opt.Numbers("--keep-share",
        "Also passes in which every agent keeps this share of its tokens; a model without agents gets random ones",
        0.01, 1, "SHARE,SHARE");
    private static readonly Option<string[]> Precisions = Opt.Choices("--precision", "Numbers that inference computes in [fp32]",
        [.. Enum.GetValues<Precision>().Select(Format.Name)]);
    private static readonly Option<int?> WarmUp = Opt.Number("--warmup",
        "Fewest calls before the clock counts; they go on while they get faster [2]", 1, 1_000_000);
    private static readonly Option<int?> Repeats =
        Opt.Number("--repeats", "Rounds: in each one every configuration is called [10]", 1, 1_000_000);
    private static readonly Option<double?> MinTime = Opt.Number("--min-time",
        "Seconds that the calls of a configuration take together at least [1]", 0.0, 3600, "SECONDS");
    private static readonly Option<string?> FormatName =
        Opt.Choice("--format", "[by the ending of --output, else table]", Formats);
    private static readonly Option<string?> Output =
        Opt.Text("--output", "Write the results here, and the table to the terminal", "FILE");

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("bench", "Throughput, latency, memory and share of the machine's peak, pruned and not.",
            "espalier bench --model-type ViT-B_16 --batch-size 1,8 --threads 1,2",
            "espalier bench --model-type ViT-S_16 --keep-share 0.7,0.5 --precision fp32,int8",
            "espalier bench --model apt.safetensors --mode infer,train --output bench.json",
            "espalier bench --model-type resnet50 --batch-size 1,8")
        {
            Shared.Model, Shared.ModelType, Shared.Config, Shared.ImageSize, Shared.Width, BatchSizes, Threads, Modes,
            Checkpoints, Pruned, Dense,
            KeepShares, Precisions, WarmUp, Repeats, MinTime, FormatName, Output, Shared.Threshold, Shared.Data, Shared.DataDir,
            Shared.Preprocess,
        };
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        string format = ChooseFormat(parse);
        string? output = parse.GetValue(Output);
        Folders.MakeFor(output);
        using var model = new BenchModel(parse, needsAgents: parse.GetValue(KeepShares).Or().Length > 0);
        BenchPlan plan = Plan(parse, model);
        using InputImages images = InputImages.Take(plan.BatchSizes.Max(), model.Preprocessing,
            parse.GetValue(Shared.Data), model.Dataset, parse.GetValue(Shared.DataDir));

        // What a program reads must not have lines of progress in it.
        Terminal terminal = context.Terminal;
        bool isData = output is null && format != "table";
        var run = new BenchRun(isData ? terminal.BesideData() : terminal, context.Cancel, model, images, plan);
        var (peak, results) = run.Measure();
        var report = new BenchReport(MachineInfo.Collect(), Path.GetFileName(model.Source), model.Parameters,
            model.DenseMultiplyAdds, model.Preprocessing.Size, model.AgentLayers, RandomAgents: !model.HasAgents, images.Source,
            peak, results);
        Write(terminal, report, format, output);
        return ExitCodes.Done;
    }

    private static BenchPlan Plan(ParseResult parse, BenchModel model)
    {
        bool pruned = parse.GetValue(Pruned), dense = parse.GetValue(Dense);
        BenchVariant[] kept = [.. parse.GetValue(KeepShares).Or().Select(BenchVariant.Keep)];
        if (pruned && !model.HasAgents && kept.Length == 0)
            throw new EspalierException($"{model.Source}: has no agents, so there is nothing pruned to measure; "
                + "leave --pruned out");
        if (!pruned && !dense) pruned = dense = true;
        BenchVariant[] variants = [.. dense ? [BenchVariant.Dense] : Array.Empty<BenchVariant>(),
            .. pruned && model.HasAgents ? [BenchVariant.Pruned] : Array.Empty<BenchVariant>(), .. kept];
        BenchMode[] modes = [.. parse.GetValue(Modes).Or("infer").Select(m => Enum.Parse<BenchMode>(m, ignoreCase: true))];
        Precision[] precisions =
            [.. parse.GetValue(Precisions).Or("fp32").Select(p => Enum.Parse<Precision>(p, ignoreCase: true))];
        foreach (Precision p in precisions)
        {
            model.RequirePrecision(p);
            if (KernelInfo.For(p) is { Name: null } missing)
                throw new EspalierException($"--precision {Format.Name(p)}: {missing.Reason}");
        }
        var plan = new BenchPlan(modes, variants, precisions,
            parse.GetValue(Threads).Or([.. new[] { 1, Workers.Threads }.Distinct()]), parse.GetValue(BatchSizes).Or(1, 8),
            new Rounds
            {
                WarmUp = parse.GetValue(WarmUp) ?? 2,
                Repeats = parse.GetValue(Repeats) ?? 10,
                MinTime = TimeSpan.FromSeconds(parse.GetValue(MinTime) ?? 1),
            })
        {
            Checkpoints = parse.GetValue(Checkpoints),
        };
        if (plan.Checkpoints && !modes.Contains(BenchMode.Train))
            throw new EspalierException($"{Checkpoints.Name} is of training steps; add --mode train");
        return plan.Cases().Any() ? plan
            : throw new EspalierException("nothing is left to measure: training is in fp32 and knows no --keep-share");
    }

    private static string ChooseFormat(ParseResult parse)
    {
        if (parse.GetValue(FormatName) is { } given) return given;
        string ending = Path.GetExtension(parse.GetValue(Output) ?? "").TrimStart('.').ToLowerInvariant();
        return Formats.Contains(ending) ? ending : "table";
    }

    private static void Write(Terminal terminal, BenchReport report, string format, string? output)
    {
        string? text = format switch
        {
            "md" => BenchWriter.Markdown(report),
            "csv" => BenchWriter.Csv(report),
            "json" => BenchWriter.Json(report),
            "jsonl" => BenchWriter.JsonLines(report),
            _ => null,
        };
        if (output is null && text is not null)
        {
            terminal.Out.Write(text);
            return;
        }
        BenchTable.Print(terminal, report);
        if (output is null) return;
        AtomicFile.WriteText(output, text ?? BenchTable.Plain(report));
        terminal.Line($"wrote {output}");
    }
}
