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
                yield return Dense(name, batch, bar, peak: name == "ViT-B/16" && batch == 8);
        foreach (string name in Shapes.Fashion)
            foreach (int batch in new[] { 1, 64 })
                yield return Dense(name, batch, bar: 2, peak: false);
    }

    private static Trial Dense(string model, int batch, double bar, bool peak)
    {
        string name = $"{model}, batch {batch}";
        return new Trial(Section, name, bench => Run(bench, name, model, batch, bar, peak));
    }

    private static IEnumerable<RowResult> Run(Bench bench, string name, string modelName, int batch, double bar, bool peak)
    {
        ModelFiles model = bench.Models.Get(modelName);
        using Side ours = bench.Load(bench.Espalier, model, "infer", batch);
        using Side theirs = bench.Load(bench.Ort, model, "infer", batch);
        Lane[] lanes = peak ? [ours, theirs, bench.Peak(bench.Espalier)] : [ours, theirs];
        Measurement rounds = bench.Measure(name, lanes);
        double ratio = rounds.Ratio(1, 0);
        yield return new RowResult(Section, name, Units.Rate(batch / rounds.Of(0)), $"ONNX Runtime {Units.Rate(batch / rounds.Of(1))}",
            Units.Times(ratio), $"≥ {Units.Times(bar)}", RowResult.Decide(ratio >= bar));
        if (!peak) yield break;
        double gflop = 2e-9 * batch * WorkDone.Dense(model.Config);
        double share = rounds.Median(r => gflop / r[0] / r[2]);
        yield return new RowResult(Section, $"{name}, of the FMA peak", Units.Gflops(gflop / rounds.Of(0)),
            $"peak {Units.Gflops(rounds.Of(2))}", Units.Percent(share), $"≥ {Units.Percent(PeakBar)}", RowResult.Decide(share >= PeakBar));
    }
}
