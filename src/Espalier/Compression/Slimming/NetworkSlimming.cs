using System.Runtime.CompilerServices;
using Espalier.Tensors;

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
    ];

    /// <inheritdoc/>
    public void Run(CompressionJob job)
    {
        CompressionOptions o = job.Options;
        bool global = o.Word("scope", "global", "layer") == "global";
        double lambda = o.Number("lambda", 1e-4, 0);
        SelectionOptions final = o.Selection.Checked() with { Global = global };
        for (int round = 1; round <= o.Rounds; round++)
        {
            job.Train(o.Stage("sparse training", round), o.Share(o.TrainSteps, round), SparsityHook.Of(job.Net, (float)lambda));
            using (DependencyGraph graph = job.Graph())
            {
                SelectionOptions selection = final.Round(o.Schedule, round, o.Rounds);
                ChannelScores scores = Score(selection.Candidates(graph));
                job.Remove(graph, job.Select(graph, scores, ByThreshold(scores, selection)));
            }
            job.Train(o.Stage("fine-tune", round), o.Share(o.FineTuneSteps, round));
        }
    }

    /// <summary>|gamma| of each channel; the mean over its batch norms where it goes through several.</summary>
    internal static ChannelScores Score(IReadOnlyList<ChannelGroup> groups)
    {
        var scores = new ChannelScores();
        foreach (ChannelGroup group in groups)
        {
            GroupSlice[] gammas = [.. group.Of(ChannelRole.Scale)];
            if (gammas.Length == 0) continue;
            scores.Set(group, [.. Enumerable.Range(0, group.Count).Select(k =>
                gammas.Average(s => s.Entries[k].Average(e => (double)Math.Abs(s.Tensor.Span[e]))))]);
        }
        return scores.Groups.Count > 0 ? scores
            : throw new EspalierException("none of the layers that may lose channels has a batch norm, whose scales "
                + "this method goes by");
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
}

internal static class NetworkSlimmingRegistration
{
    [ModuleInitializer]
    internal static void Register() => CompressionMethods.Add(new NetworkSlimming());
}
