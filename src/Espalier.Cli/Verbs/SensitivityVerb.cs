using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Training;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier compress sensitivity`: how far each layer can go.</summary>
internal static class SensitivityVerb
{
    private static readonly Option<string?> Method = Opt.Text("--method", "What scores the channels [l1]", "NAME");
    private static readonly Option<double[]> Ratios = Opt.Numbers("--ratios",
        "Shares of a group's channels to remove [0.1,0.2,...,0.9]", 0.01, 0.99);
    private static readonly Option<double?> Within = Opt.Number("--within",
        "Points of accuracy that a group may cost [1]", 0.0, 100, "POINTS");
    private static readonly Option<int?> Limit =
        Opt.Number("--limit", "Evaluate on the first N test images [1000]", 1, int.MaxValue);
    private static readonly Option<int?> BatchSize = Opt.Number("--batch-size", "Images a batch [64]", 1, 1 << 16);

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("sensitivity",
            "How far each layer can go: removes a rising share of one layer's channels at a time, and evaluates.",
            "espalier compress sensitivity --model small.safetensors --report layers.html",
            "espalier compress sensitivity --model small.safetensors --method taylor --ratios 0.25,0.5,0.75 --limit 500")
        {
            Shared.Model, CompressFlags.ModelType, Shared.Preprocess, Shared.Data, Shared.DataDir, Shared.Strict, Method, CompressFlags.Set,
            Ratios, Within, Limit, BatchSize, SelectionFlags.MinKept, SelectionFlags.Keep, SelectionFlags.Streams,
            SelectionFlags.Groups, SelectionFlags.UnequalHeads,
            CompressFlags.Report, CompressFlags.Seed,
        };
        verb.SetAction(parse =>
        {
            SensitivityPlan plan = Read(parse);
            return FlagNames.In(parse, plan.Method.Settings, () =>
            {
                new SensitivityRun(plan, context).Run();
                return ExitCodes.Done;
            });
        });
        return verb;
    }

    private static SensitivityPlan Read(ParseResult p)
    {
        if (p.GetValue(Shared.Model) is null)
            throw new EspalierException("say which network: --model FILE; one that is not trained has nothing to lose");
        CompressionMethod method = CompressionMethods.Get(p.GetValue(Method) ?? p.GetValue(CompressVerb.Method) ?? "l1");
        if (method is not ImportanceMethod scoring)
            throw new EspalierException($"{method.Name} chooses while it trains and has no scores to go by; choose one of "
                + string.Join(", ", CompressionMethods.All.OfType<ImportanceMethod>().Select(m => m.Name)));
        int batch = p.GetValue(BatchSize) ?? 64;
        var usual = new Sensitivity();
        return new SensitivityPlan
        {
            Method = (ImportanceMethod)CompressFlags.ReadSettings(p, scoring) with
            {
                Seed = p.GetValue(CompressFlags.Seed) ?? 42,
                Training = new TrainOptions { BatchSize = batch, EvalBatchSize = batch },
            },
            Source = CompressFlags.ReadSource(p),
            Limit = p.GetValue(Limit) ?? 1000,
            Report = CompressFlags.ReadReport(p),
            Sweep = new Sensitivity
            {
                Ratios = [.. p.GetValue(Ratios).Or([.. usual.Ratios]).Order()],
                Tolerance = (p.GetValue(Within) ?? 100 * usual.Tolerance) / 100,
                Limits = SelectionFlags.Limits(p),
            },
        };
    }
}
