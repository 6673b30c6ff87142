using System.Diagnostics;
using Espalier.Clip;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>Both towers of CLIP's ViT-B/32 against ONNX Runtime. A file of ONNX computes all 77 tokens of a text; a session those
/// that it has, so that texts as people write them and texts without padding are measured.</summary>
internal static class ClipTrials
{
    private const string Section = "CLIP ViT-B/32, fp32";
    private const double Bar = 1.1, Same = 1e-4;

    private static readonly (string What, int? Tokens)[] Towers = [("images", null), ("texts of 77 tokens", 77), ("texts of 10 tokens", 10)];

    private const int Stored = 100_000, Width = 512, Queries = 100;
    private const double Answer = 0.05;

    public static IEnumerable<Trial> All() =>
    [
        .. from tower in Towers
           from batch in new[] { 1, 8 }
           let name = $"{tower.What}, batch {batch}"
           select new Trial(Section, name, bench => Run(bench, bench.Models.Clip(tower.Tokens), name, batch), Quick: batch == 8),
        new Trial(Section, "search", _ => [Search()]),
    ];

    /// <summary>The ten nearest of random vectors, each time of another one.</summary>
    private static RowResult Search()
    {
        var rng = new Rng(7);
        var vectors = new float[Stored * Width];
        foreach (ref float x in vectors.AsSpan()) x = rng.NextNormal() / MathF.Sqrt(Width);
        var index = new EmbeddingIndex([.. Enumerable.Range(0, Stored).Select(i => new IndexedImage($"{i}.jpg", 0, 0))], vectors, new float[Width]);
        double[] times = [.. Enumerable.Range(0, Queries + 10).Select(i =>
        {
            float[] query = vectors[(i * Width)..((i + 1) * Width)];
            long start = Stopwatch.GetTimestamp();
            SearchHit[] hits = index.Search(query, 10);
            double time = Stopwatch.GetElapsedTime(start).TotalSeconds;
            return hits[0].Path == $"{i}.jpg" ? time : throw new EspalierException($"the nearest to picture {i} is {hits[0].Path}");
        }).Skip(10).Order()];
        double median = times[Queries / 2], most = times[Queries * 9 / 10];
        return new RowResult(Section, $"search among {Stored} images of {Width} numbers", Units.Milliseconds(median), "",
            $"9 of 10 within {Units.Milliseconds(most)}", $"≤ {Units.Milliseconds(Answer)}", RowResult.Decide(most <= Answer));
    }

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
