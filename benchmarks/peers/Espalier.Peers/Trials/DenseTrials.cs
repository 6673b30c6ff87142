namespace Espalier.Peers;

/// <summary>Dense single-precision inference, against ONNX Runtime and against what the processor can do.</summary>
internal static class DenseTrials
{
    private const string Section = "Dense inference, fp32";
    private const double PeakBar = 0.82;

    public static IEnumerable<Trial> All()
    {
        foreach (var (name, bar) in Shapes.Large.Zip([1.2, 1.3, 1.6]))
            foreach (int batch in new[] { 1, 8 })
                yield return Dense(name, batch, bar, peak: name == "ViT-B/16" && batch == 8) with { Quick = name != "ViT-S/16" };
        foreach (string name in Shapes.Fashion)
            foreach (int batch in new[] { 1, 64 })
            {
                bool quick = name.EndsWith("/49", StringComparison.Ordinal);
                yield return Dense(name, batch, bar: 2, peak: false) with { Quick = quick };
            }
    }

    private static Trial Dense(string model, int batch, double bar, bool peak)
    {
        string name = $"{model}, batch {batch}";
        return new Trial(Section, name, bench => Run(bench, name, model, batch, bar, peak));
    }

    private static IEnumerable<RowResult> Run(Bench bench, string name, string modelName, int batch, double bar, bool peak)
    {
        VitFiles model = bench.Models.Get(modelName);
        using Side ours = bench.Load(bench.Espalier, model, "infer", batch);
        using Side theirs = bench.Load(bench.Ort, model, "infer", batch);
        // The small models are sometimes faster on one thread of ONNX Runtime than on two: the better one of a round counts.
        using Side? alone = Shapes.Fashion.Contains(modelName)
            ? new Side(bench.Ort, model, model.Onnx, "infer", batch, threads: 1)
            : null;
        Lane third = alone ?? bench.Peak(bench.Espalier);
        Measurement rounds = bench.Measure(name, alone is not null || peak ? [ours, theirs, third] : [ours, theirs]);
        double Ort(double[] r) => alone is null ? r[1] : Math.Min(r[1], r[2]);

        double ratio = rounds.Median(r => Ort(r) / r[0]), best = rounds.Figures.Min(Ort) / rounds.Figures.Min(r => r[0]);
        yield return new RowResult(Section, name, Units.Rate(batch / rounds.Of(0)),
            $"ONNX Runtime {Units.Rate(batch / rounds.Median(Ort))}", $"{Units.Times(ratio)} (best windows {Units.Times(best)})",
            $"≥ {Units.Times(bar)}", RowResult.Decide(ratio >= bar));
        if (!peak) yield break;
        double gflop = 2e-9 * batch * WorkDone.Dense(model.Config);
        double share = rounds.Median(r => gflop / r[0] / r[2]), theirShare = rounds.Median(r => gflop / r[1] / r[2]);
        string top = $"peak {Units.Gflops(rounds.Of(2))}";
        yield return new RowResult(Section, $"{name}, of the FMA peak", Units.Gflops(gflop / rounds.Of(0)), top,
            Units.Percent(share), $"≥ {Units.Percent(PeakBar)}", RowResult.Decide(share >= PeakBar));
        yield return new RowResult(Section, $"{name}, ONNX Runtime's share of it", "",
            $"ONNX Runtime {Units.Gflops(gflop / rounds.Of(1))}", Units.Percent(theirShare), "", Verdict.NoBar);
    }
}
