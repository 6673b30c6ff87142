namespace Espalier.Peers;

/// <summary>Networks quantised after training: against our single precision, and ONNX Runtime on the file with QuantizeLinear and
/// DequantizeLinear that we write.</summary>
internal static class QuantisedTrials
{
    private const string Section = "Quantised after training, int8";
    private const double OrtBar = 1.15;
    private const int Batch = 8;

    private static readonly (string Network, double Bar)[] Networks =
        [("ResNet-50", 2.2), ("MobileNetV2", 2.2), ("VGG-16-BN", 1.5), ("ViT-B/16", 2.9)];

    public static IEnumerable<Trial> All() => Networks.Select(n =>
        new Trial(Section, $"{n.Network}, batch {Batch}", bench => Run(bench, n.Network, n.Bar),
            Quick: n.Network == "ResNet-50"));

    private static IEnumerable<RowResult> Run(Bench bench, string network, double bar)
    {
        ModelFiles whole = Shapes.Cnns.Contains(network) ? bench.Models.Cnn(network) : bench.Models.Get(network);
        ModelFiles rounded = bench.Models.Rounded(whole);
        using Side fp32 = bench.Load(bench.Espalier, whole, "infer", Batch);
        using Side int8 = bench.Load(bench.Espalier, rounded, "infer", Batch);
        using Side ort = bench.Load(bench.Ort, rounded, "infer", Batch);
        Measurement rounds = bench.Measure($"quantised {network}", fp32, int8, ort);
        yield return Row("our fp32", 0, bar);
        yield return Row("ONNX Runtime on the same file", 2, OrtBar);

        RowResult Row(string against, int reference, double least)
        {
            double ratio = rounds.Ratio(reference, 1);
            return new RowResult(Section, $"{network}, batch {Batch}, against {against}", Units.Rate(Batch / rounds.Of(1)),
                Units.Rate(Batch / rounds.Of(reference)), Units.Times(ratio), $"≥ {Units.Times(least)}",
                    RowResult.Decide(ratio >= least));
        }
    }
}
