using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.Vtp;

/// <summary>Which dimensions go at a share of all.</summary>
public enum VtpRule
{
    /// <summary>Exactly so many, those with the smallest scores; of equal scores the first.</summary>
    Count,

    /// <summary>Those whose score is at most the one at place floor(n · share) in rising order, from 0: one more, where scores
    /// differ.</summary>
    Threshold,
}

/// <summary>What a dimension's score is.</summary>
public enum VtpScore
{
    /// <summary>The size of its gate, as published.</summary>
    Gate,

    /// <summary>The size of its gate times the norm of the columns that read it: what gates lose and weights gain in return
    /// changes nothing.</summary>
    Column,
}

/// <summary>
/// Vision Transformer Pruning (Zhu, Tang and Han, KDD workshop 2021, arXiv 2104.08500): a learned score for each dimension that
/// enters a linear layer of a block, an L1 penalty on all scores while training, one threshold over the whole network.
/// </summary>
public sealed record Vtp : CompressionMethod
{
    private static readonly MethodSettings<Vtp> Known = new()
    {
        { "lambda", m => m.Lambda, (m, x) => m with { Lambda = x }, 0.0, double.PositiveInfinity,
            "weight of the L1 penalty on the scores of all dimensions" },
        { "step", m => m.Step, (m, x) => m with { Step = x },
            "gradient: the penalty's gradient goes through the optimiser; proximal: scores shrink after it, to exact zeros" },
        { "rule", m => m.Rule, (m, x) => m with { Rule = x },
            "what a ratio means; count: exactly so many go; threshold: the published rule, which takes equal scores too" },
        { "score", m => m.Score, (m, x) => m with { Score = x },
            "gate: the learned score; column: times the norm of the weights that read the dimension" },
    };

    /// <inheritdoc/>
    public override string Name => "vtp";

    /// <inheritdoc/>
    public override string Purpose => "learns scores of a transformer's dimensions with an L1 penalty and removes the smallest";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool TrainsFirst => true;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses => [CompressionOrder.FewBits];

    /// <summary>Weight of the penalty lambda · Σ|a|.</summary>
    public double Lambda { get; init; } = 1e-4;

    public L1Step Step { get; init; }

    public VtpRule Rule { get; init; }

    public VtpScore Score { get; init; }

    private protected override string? ByGradients => TrainSteps > 0 ? "vtp learns its scores" : null;

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        SelectionOptions final = (Selection with
        {
            Global = true, UnequalHeads = true, Groups = ChannelKind.Channels | ChannelKind.Hidden | ChannelKind.Value,
        }).Checked();
        if (TrainSteps == 0 && Score == VtpScore.Gate)
            throw new EspalierException("TrainSteps is 0: vtp learns its scores in training");
        Graph graph = job.Model.Graph;
        for (int round = 1; round <= Rounds; round++)
        {
            SelectionOptions selection = final.Round(Schedule, round, Rounds);
            DimensionGates gates = Inserted(job, selection);
            job.Train(Stage("sparse training", round), Share(TrainSteps, round),
                new L1Penalty(gates.Factors, (float)Lambda, "VtpLambda", Step, decay: false));
            gates.Fold();
            using (DependencyGraph channels = job.Graph(HeadView.EachHead))
            {
                ChannelScores scores = gates.Scores(channels, selection, Score == VtpScore.Column);
                RemovalPlan plan = job.Select(channels, scores, ByRule(scores, selection), orNone: round > 1);
                if (plan.Count > 0) job.Remove(channels, plan);
                int all = scores.Groups.Keys.Sum(g => g.Count);
                double accuracy = job.Evaluate().Scalars["accuracy"];
                job.Log(FormattableString.Invariant($"{plan.Count} of {all} dimensions, {(double)plan.Count / all:0.0%}; ")
                    + FormattableString.Invariant($"accuracy without them, before fine-tuning: {accuracy:0.00%}"));
            }
            DimensionGates.Tidy(graph);
            job.Train(Stage("fine-tune", round), Share(FineTuneSteps, round));
        }
    }

    /// <summary>Puts the gates in. Where a target cannot be reached whatever is learnt, says so and leaves the network as it was.
    /// </summary>
    private static DimensionGates Inserted(CompressionJob job, SelectionOptions selection)
    {
        using var edit = new GraphEdit(job.Model.Graph);
        DimensionGates gates = DimensionGates.Insert(job.Model.Graph);
        using (DependencyGraph channels = job.Graph(HeadView.EachHead))
        {
            ChannelScores equal = gates.Scores(channels, selection, columns: false);
            if (selection.TargetFlops is not null) ChannelSelector.Choose(channels, equal, selection, orNone: true);
        }
        edit.Commit();
        return gates;
    }

    /// <summary>A share of all dimensions as <see cref="Rule"/> has it.</summary>
    internal SelectionOptions ByRule(ChannelScores scores, SelectionOptions selection) =>
        Rule == VtpRule.Count ? selection : selection.ByThreshold(scores);
}
