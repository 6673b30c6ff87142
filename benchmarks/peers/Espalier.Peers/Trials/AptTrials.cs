using System.Text.Json.Nodes;
using Espalier.Models;

namespace Espalier.Peers;

/// <summary>What pruning saves: time against multiply-adds, each agent keeping a fixed share of the tokens it sees.</summary>
internal static class AptTrials
{
    private const string Section = "APT inference, fp32";
    private const double TimeBar = 1.08, AgentBar = 0.005;

    public static readonly double[] Shares = [0.9, 0.7, 0.5, 0.3];

    public static IEnumerable<Trial> All() => new[] { 1, 16 }.Select(batch =>
        new Trial(Section, $"ViT-B/16, batch {batch}", bench => Run(bench, batch), Quick: batch == 1));

    private static IEnumerable<RowResult> Run(Bench bench, int batch)
    {
        VitFiles model = bench.Models.Get("ViT-B/16", agents: true);
        VitConfig c = model.Config;
        Side[] sides = [bench.Load(bench.Espalier, model, "infer", batch), .. Shares.Select(share =>
            bench.Load(bench.Espalier, model, "infer", batch, new JsonObject { ["keepShare"] = share }))];
        Measurement rounds = bench.Measure($"APT ViT-B/16, batch {batch}", [.. sides.Select(s => (Lane)s)]);
        double dense = WorkDone.Dense(c), agents = 0;
        for (int i = 1; i < sides.Length; i++)
        {
            int[] tokens = sides[i].Tokens();
            double done = WorkDone.Pruned(c, tokens), time = rounds.Ratio(i, 0);
            agents = Math.Max(agents, WorkDone.Agents(c, tokens) / done);
            double excess = time / (done / dense);
            string name = $"ViT-B/16, batch {batch}, keep {Units.Two(Shares[i - 1])}";
            yield return new RowResult(Section, name, $"{Units.Percent(time)} of the dense time",
                $"{Units.Percent(done / dense)} of its MACs ({string.Join(", ", tokens)} tokens)",
                Units.Times(excess), $"≤ {Units.Times(TimeBar)}", RowResult.Decide(excess <= TimeBar));
        }
        foreach (Side side in sides) side.Dispose();
        if (batch == 1)
            yield return new RowResult(Section, "agents' share of the MACs, at most", "", "", Units.Percent(agents),
                $"≤ {Units.Percent(AgentBar)}", RowResult.Decide(agents <= AgentBar));
    }
}
