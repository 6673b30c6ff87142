using System.Text.Json.Nodes;

namespace Espalier.Peers;

/// <summary>What a step of APT's training costs, in forward passes of the same model without agents on the same batch.</summary>
internal static class AptTrainingTrials
{
    private const string Section = "APT training step, fp32";
    private const double Bar = 6;
    private const int Batch = 8;

    public static IEnumerable<Trial> All() => [new Trial(Section, "ViT-B/16, batch 8", Run, Quick: false)];

    private static IEnumerable<RowResult> Run(Bench bench)
    {
        VitFiles model = bench.Models.Get("ViT-B/16", agents: true);
        using Side forward = bench.Load(bench.Espalier, model, "forward", Batch);
        using Side whole = bench.Load(bench.Espalier, model, "train-apt", Batch, new JsonObject { ["share"] = 1.0 });
        using Side pruned = bench.Load(bench.Espalier, model, "train-apt", Batch, new JsonObject { ["share"] = 0.5 });
        double compute = pruned.Output()[0];
        Measurement rounds = bench.Measure("APT training ViT-B/16", forward, whole, pruned);
        double most = rounds.Ratio(1, 0), less = rounds.Ratio(2, 0);
        yield return new RowResult(Section, "ViT-B/16, batch 8, nothing pruned", $"{Units.Milliseconds(rounds.Of(1))} a step",
            $"forward pass {Units.Milliseconds(rounds.Of(0))}", $"{Units.Two(most)} forwards", $"≤ {Units.Two(Bar)}",
            RowResult.Decide(most <= Bar));
        yield return new RowResult(Section, $"ViT-B/16, batch 8, pruned to {Units.Percent(compute)} of the MACs",
            $"{Units.Milliseconds(rounds.Of(2))} a step", "", $"{Units.Two(less)} forwards", $"< {Units.Two(most)}",
            RowResult.Decide(less < most));
    }
}
