using System.Text.Json.Nodes;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>Inference in int8 and bf16: speed, and how often the answer is that of single precision.</summary>
internal static class LowPrecisionTrials
{
    private const string Section = "Low precision";
    private const int Batch = 8;

    public static IEnumerable<Trial> All() =>
    [
        new(Section, "ViT-B/16, batch 8, speed", Speed),
        new(Section, "Fashion-MNIST, the same answers", Answers),
    ];

    private static IEnumerable<RowResult> Speed(Bench bench)
    {
        VitFiles model = bench.Models.Get("ViT-B/16"), agents = bench.Models.Get("ViT-B/16", agents: true);
        using Side fp32 = bench.Load(bench.Espalier, model, "infer", Batch);
        using Side int8 = bench.Load(bench.Espalier, model, "infer", Batch, In(Precision.Int8));
        using Side bf16 = bench.Load(bench.Espalier, model, "infer", Batch, In(Precision.Bf16));
        JsonObject half = In(Precision.Int8);
        half["keepShare"] = 0.5;
        using Side pruned = bench.Load(bench.Espalier, agents, "infer", Batch, half);
        using Side ort = bench.Load(bench.Ort, model, "infer", Batch);
        using Side ortInt8 = new(bench.Ort, model, model.OnnxInt8(), "infer", Batch, bench.Settings.Threads);
        Measurement rounds = bench.Measure("low precision", fp32, int8, bf16, pruned, ort, ortInt8);
        yield return Row("int8", 1, "our fp32", 0, 2.0);
        yield return Row("int8", 1, "ONNX Runtime fp32", 4, 2.4);
        yield return Row("int8", 1, "ONNX Runtime on our int8 export", 5, 1.0);
        yield return Row("bf16", 2, "our fp32", 0, 1.3);
        yield return Row("int8, APT keeping half at each agent", 3, "ONNX Runtime fp32, dense", 4, null);

        RowResult Row(string what, int lane, string against, int reference, double? bar)
        {
            double ratio = rounds.Ratio(reference, lane);
            string name = $"ViT-B/16, batch {Batch}, {what}, against {against}";
            return new RowResult(Section, name, Units.Rate(Batch / rounds.Of(lane)), Units.Rate(Batch / rounds.Of(reference)),
                Units.Times(ratio), bar is { } b ? $"≥ {Units.Times(b)}" : "",
                bar is null ? Verdict.NoBar : RowResult.Decide(ratio >= bar));
        }
    }

    private static JsonObject In(Precision precision) => new() { ["precision"] = precision.ToString() };

    private static IEnumerable<RowResult> Answers(Bench bench)
    {
        foreach (bool pruned in new[] { false, true })
        {
            int[] reference = FashionAnswers.Of(bench.Settings, Precision.Fp32, pruned);
            foreach (var (precision, bar) in new[] { (Precision.Int8, 0.995), (Precision.Bf16, 0.998) })
            {
                int[] answers = FashionAnswers.Of(bench.Settings, precision, pruned);
                double same = reference.Zip(answers, (a, b) => a == b ? 1.0 : 0).Average();
                string name = $"{precision.ToString().ToLowerInvariant()}, {(pruned ? "pruned" : "unpruned")}";
                yield return new RowResult(Section, $"{answers.Length} test images of Fashion-MNIST, {name}", "", "our fp32",
                    Units.Agreement(same), $"≥ {Units.Agreement(bar)}",
                    RowResult.Decide(same >= bar));
            }
        }
    }
}
