namespace Espalier.Peers;

/// <summary>Before any speed: the same weights and images give the same logits everywhere.</summary>
internal static class AgreementTrials
{
    private const string Section = "The same answers";
    private const double Bar = 1e-4;
    private const int Batch = 4;

    public static IEnumerable<Trial> All() =>
    [
        .. Shapes.Large.Concat(Shapes.Fashion).Select(name =>
            new Trial(Section, name, bench => Run(bench, bench.Models.Get(name), bench.Ort, bench.Torch))),
        .. Shapes.Cnns.Select(name =>
            new Trial(Section, $"{name}, convolutional networks", bench => Run(bench, bench.Models.Cnn(name), bench.Ort))),
    ];

    private static IEnumerable<RowResult> Run(Bench bench, ModelFiles model, params Peer[] peers)
    {
        using Side ours = bench.Load(bench.Espalier, model, "infer", Batch);
        float[] logits = ours.Output();
        foreach (Peer peer in peers)
        {
            using Side theirs = bench.Load(peer, model, "infer", Batch);
            double difference = Agreement.Relative(logits, theirs.Output());
            yield return new RowResult(Section, $"{model.Name}, logits", "", peer.Name, Units.Small(difference),
                $"≤ {Units.Small(Bar)} of the largest", RowResult.Decide(difference <= Bar));
        }
    }
}
