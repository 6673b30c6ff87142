using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.Slimming;

/// <summary>Which channels compete in <see cref="NetworkSlimming"/>.</summary>
public enum SlimmingScope
{
    /// <summary>All, by one threshold.</summary>
    Global,

    /// <summary>Those of each layer, which all lose the same share.</summary>
    Layer,
}

/// <summary>
/// Network Slimming (Liu et al., ICCV 2017, arXiv 1708.06519): an L1 penalty drives scales of batch norms towards zero in
/// training; then channels with the smallest scales go, by one threshold over the whole network.
/// </summary>
public sealed record NetworkSlimming : CompressionMethod
{
    private static readonly MethodSettings<NetworkSlimming> Known = new()
    {
        { "lambda", m => m.Lambda, (m, x) => m with { Lambda = x }, 0.0, double.PositiveInfinity,
            "weight of the L1 penalty on the scales of all batch norms" },
        { "scope", m => m.Scope, (m, x) => m with { Scope = x },
            "global: one threshold for all layers; layer: the same share of each" },
        { "initial-scale", m => m.InitialScale, (m, x) => m with { InitialScale = x }, 0.0, 10.0,
            "what all scales are set to before the training, 0 to leave them; the paper has 0.5" },
    };

    /// <inheritdoc/>
    public override string Name => "network-slimming";

    /// <inheritdoc/>
    public override string Purpose => "trains batch norm scales towards zero and removes the channels with the smallest";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool TrainsFirst => true;

    /// <summary>Weight of the penalty lambda · Σ|gamma|; the paper has 1e-4 for VGG, 1e-5 for ResNet and DenseNet.</summary>
    public double Lambda { get; init; } = 1e-4;

    /// <summary>In place of <see cref="SelectionOptions.Global"/>.</summary>
    public SlimmingScope Scope { get; init; }

    /// <summary>What all scales are set to before the training; 0 leaves them.</summary>
    public double InitialScale { get; init; }

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        SelectionOptions final = (Selection with { Global = Scope == SlimmingScope.Global }).Checked();
        using (DependencyGraph graph = job.Graph()) ScaleScores.Of(graph, final.Candidates(graph));
        Tensor[] scales = [.. job.Model.Graph.Nodes.Where(n => n.Op is BatchNorm2dOp).Select(n => n.Operands[1]!.Tensor)
            .Distinct()];
        var penalty = new L1Penalty(scales, (float)Lambda, "SlimmingLambda");
        if (InitialScale > 0) foreach (Tensor scale in scales) scale.Fill((float)InitialScale);
        for (int round = 1; round <= Rounds; round++)
        {
            job.Train(Stage("sparse training", round), Share(TrainSteps, round), penalty);
            using (DependencyGraph graph = job.Graph())
            {
                SelectionOptions selection = final.Round(Schedule, round, Rounds, job.WorkLeft(graph));
                ChannelScores scores = ScaleScores.Of(graph, selection.Candidates(graph));
                RemovalPlan plan = job.Select(graph, scores, selection.ByThreshold(scores), orNone: round > 1);
                // As if gamma were zero: what a channel gives then is the shift behind its norm, a constant that can be moved.
                if (MoveConstants && Recover is null) ScaleScores.Silence(graph, plan);
                if (plan.Count > 0) job.Remove(graph, plan);
                job.Log(Outcome(plan.Count, scores.Groups.Keys.Sum(g => g.Count), selection, job.Evaluate().Scalars["accuracy"]));
            }
            job.Train(Stage("fine-tune", round), Share(FineTuneSteps, round));
        }
    }

    /// <summary>Scales that equal the threshold go too and layers keep their least, so the share may differ from what was
    /// asked.</summary>
    private static string Outcome(int removed, int all, SelectionOptions selection, double accuracy) => FormattableString.Invariant(
        $"{removed} of {all} scales, {(double)removed / all:0.0%}")
        + (selection.Ratio?.OfAll is { } ratio ? FormattableString.Invariant($", where {ratio:0.0%} were asked for") : "")
        + FormattableString.Invariant($"; accuracy without them, before fine-tuning: {accuracy:0.00%}");
}
