using Espalier.Data;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.Taylor;

/// <summary>How the values of several images become one score, see <see cref="TaylorSum"/>.</summary>
public enum TaylorVariant
{
    /// <summary>The absolute value of each image, then the mean over the images.</summary>
    Paper,

    /// <summary>The mean over a batch, the sum of batches, then the absolute value: a widely used implementation.</summary>
    Pipeline,
}

/// <summary>
/// Removes the channels whose removal would change the loss least, to first order: |activation · gradient| (Molchanov et al.,
/// arXiv 1611.06440, eq. 8), made comparable between layers by their Euclidean norms (section 2.2) and, where asked for, lowered
/// by the layer's cost (section 2.3).
/// </summary>
public sealed record Taylor : ImportanceMethod
{
    private static readonly MethodSettings<Taylor> Known = new()
    {
        { "variant", m => m.Variant, (m, x) => m with { Variant = x },
            "paper: absolute values of each image, then their mean; pipeline: the mean, then its absolute value" },
        { "per-round", m => m.PerRound, (m, x) => m with { PerRound = x }, 0, 1 << 20,
            "filters that each round removes from all layers, as many rounds as the ratio asks for; 0: --rounds" },
        { "flops-lambda", m => m.FlopsLambda, (m, x) => m with { FlopsLambda = x }, 0.0, double.PositiveInfinity,
            "what a score loses for each GFLOP of its layer; the paper has 0.001" },
    };

    /// <inheritdoc/>
    public override string Name => "taylor";

    /// <inheritdoc/>
    public override string Purpose => "removes the channels with the smallest activation times gradient";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    public TaylorVariant Variant { get; init; }

    /// <summary>
    /// Channels that each round removes from all layers, in as many rounds as <see cref="CompressionOptions.Ratio"/> asks for; 0
    /// for <see cref="CompressionOptions.Rounds"/>. The pipeline has 512.
    /// </summary>
    public int PerRound { get; init; }

    /// <summary>What a normalised score loses for each GFLOP of the layer that makes the channel (the paper: 0.001).</summary>
    public double FlopsLambda { get; init; }

    /// <inheritdoc/>
    public override ChannelScores Score(CompressionJob job, DependencyGraph graph, IReadOnlyList<ChannelGroup> groups)
    {
        Graph network = job.Model.Graph;
        List<TaylorSum>? sums = null;
        Dictionary<ChannelGroup, double> gigaFlops = [];
        try
        {
            foreach (Batch batch in job.RankingBatches())
            {
                using var recording = new Recording();
                // Dropout off and batch norms at their running statistics: the network that is cut is the one that will be used.
                Tensor logits = network.Run(batch.ToTensor(job.Model.Channels, job.Model.ImageSize));
                Tensor loss = F.CrossEntropy(logits, batch.Labels);
                List<ChannelReading> readings = ChannelReading.Find(recording.Ops, groups);
                sums ??= [.. readings.Select(r => new TaylorSum(r.Group, Variant))];
                if (gigaFlops.Count == 0) gigaFlops = GigaFlops(recording.Ops, groups, batch.Count);
                ILookup<Tensor, int> at = Enumerable.Range(0, readings.Count).ToLookup(i => readings[i].Map);
                recording.Backward(loss, look: map =>
                {
                    foreach (int i in at[map]) sums[i].Add(readings[i], map.Grad!, batch.Count);
                });
                job.ClearGradients();
            }
        }
        finally
        {
            job.ClearGradients();
        }
        return Scores(groups, sums ?? [], gigaFlops);
    }

    /// <summary>Sums over a group's maps, normalised in each group, less lambda times the group's cost.</summary>
    private ChannelScores Scores(IReadOnlyList<ChannelGroup> groups, List<TaylorSum> sums,
        Dictionary<ChannelGroup, double> gigaFlops)
    {
        var scores = new ChannelScores();
        foreach (var maps in sums.GroupBy(s => s.Group))
            scores.Set(maps.Key, [.. Enumerable.Range(0, maps.Key.Count).Select(k => maps.Sum(m => m.Criterion[k]))]);
        if (groups.FirstOrDefault(g => !scores.Groups.ContainsKey(g)) is { } unread)
            throw new EspalierException($"no convolution or linear layer reads the channels of '{unread.Name}', so they have no "
                + "Taylor score; leave the layer alone with Keep");
        return FlopsLambda == 0 ? scores.Normalised() : Regularised(scores.Normalised(), FlopsLambda, gigaFlops);
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
    private static Dictionary<ChannelGroup, double> GigaFlops(IReadOnlyList<Op> ops, IReadOnlyList<ChannelGroup> groups,
        int images)
    {
        ILookup<Tensor, double> costs = ops.Where(op => op.Inputs.Count > 1)
            .ToLookup(op => op.Inputs[1], op => LayerFlops(op, images));
        return groups.ToDictionary(g => g, g => g.Of(ChannelRole.Producer).Sum(s => costs[s.Tensor].Sum()) * 1e-9);
    }

    /// <summary>
    /// Operations of a layer as the paper counts them (appendix A.1): 2 H W (C_in k² + 1) C_out for a convolution, (2 I - 1) O
    /// for a linear layer and token, for one of <paramref name="images"/>; 0 for what is neither.
    /// </summary>
    internal static double LayerFlops(Op op, int images) => op switch
    {
        Conv2dOp => 2.0 * op.Output.Length / images * (op.Inputs[1].Length / op.Inputs[1].Shape[0] + 1),
        LinearOp => (double)op.Output.Length / images * (2 * op.Inputs[1].Shape[1] - 1),
        _ => 0,
    };

    /// <summary>With a number of filters a round, as many rounds as the pipeline takes for the ratio, over all layers.</summary>
    private protected override ImportanceMethod For(CompressionJob job)
    {
        if (PerRound == 0) return this;
        if (Selection.Ratio?.OfAll is not { } ratio)
            throw new EspalierException("PerRound goes with one Ratio of the channels of all layers");
        using DependencyGraph graph = job.Graph();
        int all = Selection.Checked().Candidates(graph).Sum(g => g.Count), rounds = PipelineRounds(all, PerRound, ratio);
        if (rounds == 0)
            throw new EspalierException($"PerRound is {PerRound}: {ratio} of {all} filters is less than one round removes");
        return this with
        {
            Rounds = rounds, Schedule = PruningSchedule.Linear,
            Selection = Selection with { Global = true, Ratio = (double)rounds * PerRound / all },
        };
    }

    /// <summary>The ratio is of whole rounds: what does not fill one is not counted.</summary>
    internal static int PipelineRounds(int filters, int perRound, double ratio) => (int)(filters / perRound * ratio + 1e-9);
}
