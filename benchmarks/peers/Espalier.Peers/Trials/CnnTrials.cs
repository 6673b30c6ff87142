namespace Espalier.Peers;

/// <summary>Convolutional networks in single precision, whole against ONNX Runtime, and pruned against whole.</summary>
internal static class CnnTrials
{
    private const string Section = "Convolutional networks, fp32";
    private const double Bar = 1;

    private static readonly int[] Batches = [1, 8];

    public static IEnumerable<Trial> All()
    {
        foreach (string network in Shapes.Cnns)
            foreach (int batch in Batches)
                yield return new Trial(Section, $"{network}, batch {batch}", bench => Run(bench, network, batch),
                    Quick: network == Shapes.PrunedCnn);
        foreach (int batch in Batches)
            yield return new Trial(Section, $"{Shapes.PrunedCnn} pruned, batch {batch}", bench => Pruned(bench, batch),
                Quick: false);
    }

    private static IEnumerable<RowResult> Run(Bench bench, string network, int batch)
    {
        CnnFiles model = bench.Models.Cnn(network);
        using Side ours = bench.Load(bench.Espalier, model, "infer", batch);
        using Side theirs = bench.Load(bench.Ort, model, "infer", batch);
        string name = $"{network}, batch {batch}";
        Measurement rounds = bench.Measure(name, ours, theirs);
        double best = rounds.Figures.Min(r => r[1]) / rounds.Figures.Min(r => r[0]);
        yield return Row(name, batch, rounds, lane: 0, ort: 1, $" (best windows {Units.Times(best)})");
    }

    /// <summary>Channels are removed, evenly, until no more than half of the multiply-adds are left.</summary>
    private static IEnumerable<RowResult> Pruned(Bench bench, int batch)
    {
        CnnFiles whole = bench.Models.Cnn(Shapes.PrunedCnn), pruned = bench.Models.Cnn(Shapes.PrunedCnn, Shapes.PrunedShare);
        using Side before = bench.Load(bench.Espalier, whole, "infer", batch);
        using Side after = bench.Load(bench.Espalier, pruned, "infer", batch);
        using Side theirs = bench.Load(bench.Ort, pruned, "infer", batch);
        string name = $"{Shapes.PrunedCnn} pruned, batch {batch}";
        Measurement rounds = bench.Measure(name, before, after, theirs);
        double time = rounds.Ratio(1, 0), macs = (double)pruned.MultiplyAdds / whole.MultiplyAdds;
        yield return new RowResult(Section, $"{name}, against the whole network", Units.Rate(batch / rounds.Of(1)),
            $"{Units.Percent(macs)} of its MACs", $"{Units.Percent(time)} of its time", $"< {Units.Percent(1)}",
            RowResult.Decide(time < 1));
        yield return Row(name, batch, rounds, lane: 1, ort: 2, "");
    }

    private static RowResult Row(string name, int batch, Measurement rounds, int lane, int ort, string more)
    {
        double ratio = rounds.Ratio(ort, lane);
        return new RowResult(Section, name, Units.Rate(batch / rounds.Of(lane)),
            $"ONNX Runtime {Units.Rate(batch / rounds.Of(ort))}", Units.Times(ratio) + more, $"≥ {Units.Times(Bar)}",
            RowResult.Decide(ratio >= Bar));
    }
}
