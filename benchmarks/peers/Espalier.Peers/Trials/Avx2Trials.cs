namespace Espalier.Peers;

/// <summary>The path of processors without AVX-512, in a process that is not allowed to use it.</summary>
internal static class Avx2Trials
{
    private const string Section = "Dense inference, fp32, AVX2 only";
    private const double Bar = 0.80;
    private const int Batch = 8;

    public static IEnumerable<Trial> All() => [new Trial(Section, "ViT-B/16, batch 8", Run)];

    private static IEnumerable<RowResult> Run(Bench bench)
    {
        VitFiles model = bench.Models.Get("ViT-B/16");
        using Side ours = bench.Load(bench.EspalierAvx2, model, "infer", Batch);
        Measurement rounds = bench.Measure("AVX2 ViT-B/16", ours, bench.Peak(bench.EspalierAvx2));
        double gflop = 2e-9 * Batch * WorkDone.Dense(model.Config), share = rounds.Median(r => gflop / r[0] / r[1]);
        yield return new RowResult(Section, "ViT-B/16, batch 8, AVX2, of its FMA peak", Units.Gflops(gflop / rounds.Of(0)),
            $"peak {Units.Gflops(rounds.Of(1))}", Units.Percent(share), $"≥ {Units.Percent(Bar)}",
            RowResult.Decide(share >= Bar));
    }
}
