namespace Espalier.Peers;

/// <summary>Before any speed: the same weights and images give the same logits everywhere.</summary>
internal static class AgreementTrials
{
    private const string Section = "The same answers";
    private const double Bar = 1e-4;
    private const int Batch = 4;

    public static IEnumerable<Trial> All() =>
        Shapes.Large.Concat(Shapes.Fashion).Select(name => new Trial(Section, name, bench => Run(bench, name)));

    private static IEnumerable<RowResult> Run(Bench bench, string name)
    {
        ModelFiles model = bench.Models.Get(name);
        using Side ours = bench.Load(bench.Espalier, model, "infer", Batch);
        float[] logits = ours.Output();
        foreach (Peer peer in new[] { bench.Ort, bench.Torch })
        {
            using Side theirs = bench.Load(peer, model, "infer", Batch);
            double difference = Agreement.Relative(logits, theirs.Output());
            yield return new RowResult(Section, $"{name}, logits", "", peer.Name, Units.Small(difference),
                $"≤ {Units.Small(Bar)} of the largest", RowResult.Decide(difference <= Bar));
        }
    }
}
