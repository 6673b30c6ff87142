namespace Espalier.Peers;

/// <summary>Both towers of CLIP's ViT-B/32 against ONNX Runtime. A file of ONNX computes all 77 tokens of a text; a session those
/// that it has, so that texts as people write them and texts without padding are measured.</summary>
internal static class ClipTrials
{
    private const string Section = "CLIP ViT-B/32, fp32";
    private const double Bar = 1.1, Same = 1e-4;

    private static readonly (string What, int? Tokens)[] Towers = [("images", null), ("texts of 77 tokens", 77), ("texts of 10 tokens", 10)];

    public static IEnumerable<Trial> All() =>
        from tower in Towers
        from batch in new[] { 1, 8 }
        let name = $"{tower.What}, batch {batch}"
        select new Trial(Section, name, bench => Run(bench, bench.Models.Clip(tower.Tokens), name, batch), Quick: batch == 8);

    private static IEnumerable<RowResult> Run(Bench bench, ModelFiles model, string name, int batch)
    {
        using Side ours = bench.Load(bench.Espalier, model, "infer", batch);
        using Side theirs = bench.Load(bench.Ort, model, "infer", batch);
        double difference = Agreement.Relative(ours.Output(), theirs.Output());
        if (difference > Same) throw new EspalierException($"features differ by {Units.Small(difference)} of the largest");
        Measurement rounds = bench.Measure($"CLIP {name}", ours, theirs);
        double ratio = rounds.Ratio(1, 0), best = rounds.Figures.Min(r => r[1]) / rounds.Figures.Min(r => r[0]);
        yield return new RowResult(Section, name, Units.Rate(batch / rounds.Of(0)), $"ONNX Runtime {Units.Rate(batch / rounds.Of(1))}",
            $"{Units.Times(ratio)} (best windows {Units.Times(best)})", $"≥ {Units.Times(Bar)}", RowResult.Decide(ratio >= Bar));
    }
}
