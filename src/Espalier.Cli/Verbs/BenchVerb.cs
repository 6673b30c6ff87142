using System.CommandLine;
using System.Text;
using Espalier.Benchmarking;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Compression.Apt;
using Espalier.Formats;
using Espalier.Models;
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
    private static readonly Option<bool> Dense = Opt.Flag("--dense", "Only the passes that keep every token");
    private static readonly Option<int?> WarmUp = Opt.Number("--warmup", "Fewest calls before the clock counts; they go on while they get faster [2]",
        1, 1_000_000);
    private static readonly Option<int?> Repeats =
        Opt.Number("--repeats", "Rounds: in each one every configuration is called [10]", 1, 1_000_000);
    private static readonly Option<double?> MinTime = Opt.Number("--min-time",
        "Seconds that the calls of a configuration take together at least [1]", 0.0, 3600, "SECONDS");
    private static readonly Option<string?> FormatName = Opt.Choice("--format", "[by the ending of --output, else table]", Formats);
    private static readonly Option<string?> Output = Opt.Text("--output", "Write the results here, and the table to the terminal", "FILE");

    public static Command Create(Session session)
    {
        var verb = new Verb("bench", "Throughput, latency, memory and share of the machine's peak, pruned and not.",
            "espalier bench --model-type ViT-B_16 --batch-size 1,8 --threads 1,2",
            "espalier bench --model apt.safetensors --mode infer,train --output bench.json")
        {
            Shared.Model, Shared.ModelType, Shared.Config, Shared.ImageSize, BatchSizes, Threads, Modes, Pruned, Dense, WarmUp,
            Repeats, MinTime, FormatName, Output, Shared.Threshold, Shared.Data, Shared.DataDir,
        };
        verb.SetAction(parse => Run(parse, session));
        return verb;
    }

    private static int Run(ParseResult parse, Session session)
    {
        string format = ChooseFormat(parse);
        string? output = parse.GetValue(Output);
        string? path = parse.GetValue(Shared.Model);
        using LoadedModel? loaded = path is null ? null : Checkpoints.Load(parse, path);
        using VisionTransformer? fresh = loaded is null ? new VisionTransformer(ModelChoice.Named(parse, "measure")) : null;
        VisionTransformer vit = loaded?.Vit ?? fresh!;
        BenchPlan plan = Plan(parse, loaded?.Apt, path ?? parse.GetValue(Shared.ModelType) ?? parse.GetValue(Shared.Config)!);
        using InputImages images = InputImages.Take(plan.BatchSizes.Max(), vit.Config, parse.GetValue(Shared.Data),
            loaded?.Structure.Dataset, parse.GetValue(Shared.DataDir));

        // What a program reads must not have lines of progress in it.
        Terminal terminal = session.Terminal;
        bool piped = output is null && format != "table" && !terminal.Interactive;
        var run = new BenchRun(piped ? terminal with { Out = terminal.Error } : terminal, session.Cancel, vit, loaded?.Apt, images, plan);
        var (peak, results) = run.Measure();
        var report = new BenchReport(MachineInfo.Collect(), Name(parse), vit.ParameterCount, VitCost.Dense(vit.Config),
            vit.Config.ImageSize, loaded?.Apt?.Layers ?? [], images.Source, peak, results);
        Write(terminal, report, format, output);
        return ExitCodes.Done;
    }

    private static BenchPlan Plan(ParseResult parse, AptModel? apt, string source)
    {
        bool pruned = parse.GetValue(Pruned), dense = parse.GetValue(Dense);
        if (pruned && apt is null)
            throw new EspalierException($"{source}: has no agents, so there is nothing pruned to measure; leave --pruned out");
        string[] variants = apt is null || (dense && !pruned) ? [BenchCase.Dense]
            : pruned && !dense ? [BenchCase.Pruned]
            : [BenchCase.Dense, BenchCase.Pruned];
        return new BenchPlan(
            [.. parse.GetValue(Modes).Or("infer").Select(m => m == "infer" ? BenchMode.Infer : BenchMode.Train)], variants,
            parse.GetValue(Threads).Or([.. new[] { 1, Workers.Threads }.Distinct()]), parse.GetValue(BatchSizes).Or(1, 8),
            new Rounds
            {
                WarmUp = parse.GetValue(WarmUp) ?? 2,
                Repeats = parse.GetValue(Repeats) ?? 10,
                MinTime = TimeSpan.FromSeconds(parse.GetValue(MinTime) ?? 1),
            });
    }

    private static string Name(ParseResult parse) => parse.GetValue(Shared.Model) is { } file ? Path.GetFileName(file)
        : parse.GetValue(Shared.ModelType) ?? Path.GetFileName(parse.GetValue(Shared.Config)!);

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
        AtomicFile.Write(output, stream => stream.Write(Encoding.UTF8.GetBytes(text ?? BenchTable.Plain(report))));
        terminal.Line($"wrote {output}");
    }
}
