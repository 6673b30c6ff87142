using System.Text.Json.Nodes;

namespace Espalier.Peers;

/// <summary>Memory, allocation and the time to the first prediction.</summary>
internal static class ResourceTrials
{
    private const string Section = "Memory and start-up";
    private const double AllocationSlack = 64;

    public static IEnumerable<Trial> All() =>
    [
        new(Section, "first prediction and peak memory, batch 1", bench => First(bench, batch: 1, timed: true)),
        new(Section, "peak memory, batch 8", bench => First(bench, batch: 8, timed: false), Quick: false),
        new(Section, "managed allocation", Allocation, Quick: false),
    ];

    /// <summary>Fresh processes that predict once, in turns, on files that the system has in memory.</summary>
    private static IEnumerable<RowResult> First(Bench bench, int batch, bool timed)
    {
        VitFiles model = bench.Models.Get("ViT-B/16");
        string images = batch.ToString();
        ChildProcess ours = Programs.This("first", model.Weights, model.Input, images);
        ChildProcess theirs = Programs.This("first-ort", model.Onnx, model.Input, images,
            model.Channels.ToString(), model.ImageSize.ToString());
        double ourPeak = 0, theirPeak = 0;
        Measurement rounds = bench.Measure($"first prediction, batch {batch}",
            new Lane("Espalier", _ => Once(ours, ref ourPeak)), new Lane("ONNX Runtime", _ => Once(theirs, ref theirPeak)));
        if (timed)
            yield return new RowResult(Section, "ViT-B/16, process start to first prediction", Units.Milliseconds(rounds.Of(0)),
                $"ONNX Runtime {Units.Milliseconds(rounds.Of(1))}", Units.Times(rounds.Ratio(0, 1)), $"< {Units.Times(1)}",
                RowResult.Decide(rounds.Ratio(0, 1) < 1));
        yield return new RowResult(Section, $"ViT-B/16, batch {batch}, peak memory", Units.Megabytes(ourPeak),
            $"ONNX Runtime {Units.Megabytes(theirPeak)}", Units.Times(ourPeak / theirPeak), $"< {Units.Times(1)}",
            RowResult.Decide(ourPeak < theirPeak));
    }

    /// <summary>Seconds to the answer; the greatest peak of all runs is kept.</summary>
    private static double Once(ChildProcess child, ref double peak)
    {
        var (line, seconds) = child.RunToEnd();
        peak = Math.Max(peak, (double)JsonNode.Parse(line)!["peak"]!);
        return seconds;
    }

    private static IEnumerable<RowResult> Allocation(Bench bench)
    {
        var bytes = new List<double>();
        foreach (string name in new[] { "ViT-Ti/16", "ViT-B/16" })
        {
            foreach (int batch in new[] { 1, 8 })
            {
                using Side side = bench.Load(bench.Espalier, bench.Models.Get(name), "infer", batch);
                bytes.Add(side.Allocated());
            }
        }
        double spread = bytes.Max() - bytes.Min();
        yield return new RowResult(Section, "managed bytes a warm call: ViT-Ti/16 batch 1, 8; ViT-B/16 batch 1, 8",
            string.Join(", ", bytes.Select(b => b.ToString("0"))), "", $"grows by {spread:0}", $"≤ {AllocationSlack:0}",
            RowResult.Decide(spread <= AllocationSlack));
    }
}
