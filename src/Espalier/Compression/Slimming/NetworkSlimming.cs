using System.Runtime.CompilerServices;
using Espalier.Nn;

namespace Espalier.Compression;

/// <summary>
/// Network Slimming (Liu et al., ICCV 2017, arXiv 1708.06519): an L1 penalty drives scales of batch norms towards zero in
/// training; then channels with the smallest scales go, by one threshold over the whole network.
/// </summary>
public sealed class NetworkSlimming : ICompressionMethod
{
    /// <inheritdoc/>
    public string Name => "network-slimming";

    /// <inheritdoc/>
    public string Purpose => "trains batch norm scales towards zero and removes the channels with the smallest";

    /// <inheritdoc/>
    public IReadOnlyList<MethodSetting> Settings =>
    [
        new("lambda", "0.0001", "weight of the L1 penalty on the scales of all batch norms"),
        new("scope", "global", "global: one threshold for all layers; layer: the same share of each"),
        new("initial-scale", "0", "what all scales are set to before the training, 0 to leave them; the paper has 0.5"),
    ];

    /// <inheritdoc/>
    public void Run(CompressionJob job)
    {
        CompressionOptions o = job.Options;
        bool global = o.Word("scope", "global", "layer") == "global";
        double lambda = o.Number("lambda", 1e-4, 0);
        float initial = (float)o.Number("initial-scale", 0, 0, 10);
        SelectionOptions final = o.Selection.Checked() with { Global = global };
        if (initial > 0)
            foreach (BatchNorm2d norm in job.Net.Descendants<BatchNorm2d>()) norm.Weight.Fill(initial);
        for (int round = 1; round <= o.Rounds; round++)
        {
            job.Train(o.Stage("sparse training", round), o.Share(o.TrainSteps, round), SparsityHook.Of(job.Net, (float)lambda));
            using (DependencyGraph graph = job.Graph())
            {
                SelectionOptions selection = final.Round(o.Schedule, round, o.Rounds);
                ChannelScores scores = ScaleScores.Of(graph, selection.Candidates(graph));
                RemovalPlan plan = job.Select(graph, scores, ByThreshold(scores, selection), orNone: round > 1);
                if (plan.Count > 0) job.Remove(graph, plan);
                job.Log(Outcome(plan.Count, scores.Groups.Keys.Sum(g => g.Count), selection, job.Evaluate().Scalars["accuracy"]));
            }
            job.Train(o.Stage("fine-tune", round), o.Share(o.FineTuneSteps, round));
        }
    }

    /// <summary>
    /// A share of all channels becomes a threshold: the scale at place floor(n · share) in rising order, from 0. Scales that
    /// equal it go too.
    /// </summary>
    internal static SelectionOptions ByThreshold(ChannelScores scores, SelectionOptions selection)
    {
        if (!selection.Global || selection.Ratio is not { } ratio) return selection;
        double[] sorted = [.. scores.Groups.Values.SelectMany(s => s).Order()];
        int place = Math.Min((int)(sorted.Length * ratio + 1e-9), sorted.Length - 1);
        return selection with { Ratio = null, Threshold = sorted[place] };
    }

    /// <summary>Scales that equal the threshold go too and layers keep their least, so the share may differ from what was
    /// asked.</summary>
    private static string Outcome(int removed, int all, SelectionOptions selection, double accuracy) => FormattableString.Invariant(
        $"{removed} of {all} scales, {(double)removed / all:0.0%}")
        + (selection.Ratio is { } ratio ? FormattableString.Invariant($", where {ratio:0.0%} were asked for") : "")
        + FormattableString.Invariant($"; accuracy without them, before fine-tuning: {accuracy:0.00%}");
}

internal static class NetworkSlimmingRegistration
{
    [ModuleInitializer]
    internal static void Register() => CompressionMethods.Add(new NetworkSlimming());
}
