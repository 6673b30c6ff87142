using System.Runtime.CompilerServices;
using Espalier.Data;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Removes the channels whose removal would change the loss least, to first order: |activation · gradient| (Molchanov et al.,
/// arXiv 1611.06440, eq. 8), made comparable between layers by their Euclidean norms (section 2.2) and, where asked for, lowered
/// by the layer's cost (section 2.3).
/// </summary>
public sealed class TaylorPruning : ImportanceMethod
{
    /// <inheritdoc/>
    public override string Name => "taylor";

    /// <inheritdoc/>
    public override string Purpose => "removes the channels with the smallest activation times gradient";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings =>
    [
        new("variant", "paper",
            "paper: absolute values of each image, then their mean; pipeline: the mean, then its absolute value"),
        new("per-round", "0", "filters that each round removes from all layers, as many rounds as the ratio asks for; 0: --rounds"),
        new("flops-lambda", "0", "what a score loses for each GFLOP of its layer; the paper has 0.001"),
    ];

    /// <inheritdoc/>
    public override ChannelScores Score(CompressionJob job, DependencyGraph graph, IReadOnlyList<ChannelGroup> groups)
    {
        bool eachImage = job.Options.Word("variant", "paper", "pipeline") == "paper";
        double lambda = job.Options.Number("flops-lambda", 0, 0);
        bool training = job.Net.Training;
        List<TaylorSum>? sums = null;
        Dictionary<ChannelGroup, double> gigaFlops = [];
        // Dropout off and batch norms at their running statistics: the network that is cut is the one that will be used.
        job.Net.Training = false;
        try
        {
            foreach (Batch batch in job.RankingBatches())
            {
                using var recording = new Recording();
                Tensor logits = job.Net.Forward(batch.ToTensor(job.Net.Channels, job.Net.ImageSize));
                Tensor loss = F.CrossEntropy(logits, batch.Labels);
                List<ChannelReading> readings = ChannelReading.Find(recording.Ops, groups);
                sums ??= [.. readings.Select(r => new TaylorSum(r.Group, eachImage))];
                if (gigaFlops.Count == 0) gigaFlops = GigaFlops(recording.Ops, groups);
                ILookup<Tensor, int> at = Enumerable.Range(0, readings.Count).ToLookup(i => readings[i].Map);
                recording.Backward(loss, look: map =>
                {
                    foreach (int i in at[map]) sums[i].Add(readings[i], map.Grad!);
                });
                job.Net.ClearGrads();
            }
        }
        finally
        {
            job.Net.Training = training;
            job.Net.ClearGrads();
        }
        return Scores(groups, sums ?? [], lambda, gigaFlops);
    }

    /// <summary>Sums over a group's maps, normalised in each group, less lambda times the group's cost.</summary>
    private static ChannelScores Scores(IReadOnlyList<ChannelGroup> groups, List<TaylorSum> sums, double lambda,
        Dictionary<ChannelGroup, double> gigaFlops)
    {
        var scores = new ChannelScores();
        foreach (var maps in sums.GroupBy(s => s.Group))
            scores.Set(maps.Key, [.. Enumerable.Range(0, maps.Key.Count).Select(k => maps.Sum(m => m.Criterion[k]))]);
        if (groups.FirstOrDefault(g => !scores.Groups.ContainsKey(g)) is { } unread)
            throw new EspalierException($"no convolution or linear layer reads the channels of '{unread.Name}', so they have no "
                + $"Taylor score; leave them out with --keep {unread.Name}");
        return lambda == 0 ? scores.Normalised() : Regularised(scores.Normalised(), lambda, gigaFlops);
    }

    /// <summary>Each score less <paramref name="lambda"/> times its layer's cost in GFLOPs.</summary>
    internal static ChannelScores Regularised(ChannelScores scores, double lambda,
        IReadOnlyDictionary<ChannelGroup, double> gigaFlops)
    {
        var result = new ChannelScores();
        foreach (var (group, values) in scores.Groups)
            result.Set(group, [.. values.Select(v => v - lambda * gigaFlops.GetValueOrDefault(group))]);
        return result;
    }

    /// <summary>10⁹ operations an image of the layers that make each group's channels.</summary>
    private static Dictionary<ChannelGroup, double> GigaFlops(IReadOnlyList<Op> ops, IReadOnlyList<ChannelGroup> groups)
    {
        ILookup<Tensor, double> costs = ops.Where(op => op.Inputs.Count > 1).ToLookup(op => op.Inputs[1], LayerFlops.Of);
        return groups.ToDictionary(g => g, g => g.Of(ChannelRole.Producer).Sum(s => costs[s.Tensor].Sum()) * 1e-9);
    }

    /// <summary>With a number of filters a round, as many rounds as the pipeline takes for the ratio, over all layers.</summary>
    private protected override CompressionOptions Options(CompressionJob job)
    {
        CompressionOptions o = job.Options;
        int perRound = (int)o.Number("per-round", 0, 0, 1 << 20);
        if (perRound == 0) return o;
        if (o.Selection.Ratio is not { } ratio) throw new EspalierException("--set per-round goes with --ratio");
        using DependencyGraph graph = job.Graph();
        int all = o.Selection.Checked().Candidates(graph).Sum(g => g.Count), rounds = PipelineRounds(all, perRound, ratio);
        if (rounds == 0)
            throw new EspalierException($"--set per-round={perRound}: {ratio} of {all} filters is less than one round removes");
        return o with
        {
            Rounds = rounds, Schedule = PruningSchedule.Linear,
            Selection = o.Selection with { Global = true, Ratio = (double)rounds * perRound / all },
        };
    }

    /// <summary>The ratio is of whole rounds: what does not fill one is not counted.</summary>
    internal static int PipelineRounds(int filters, int perRound, double ratio) => (int)(filters / perRound * ratio + 1e-9);
}

internal static class TaylorRegistration
{
    [ModuleInitializer]
    internal static void Register() => CompressionMethods.Add(new TaylorPruning());
}
