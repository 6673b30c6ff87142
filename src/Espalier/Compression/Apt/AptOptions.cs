using System.Globalization;

namespace Espalier.Compression.Apt;

/// <summary>In which company of tokens the agents are trained.</summary>
public enum AgentContext
{
    /// <summary>On the unpruned features, only the agent in question acting: the published procedure.</summary>
    Plain,

    /// <summary>On the features that the earlier agents leave, as at inference.</summary>
    Pruned,
}

/// <summary>
/// How APT is trained. The defaults are the published procedure with its defects corrected; <see cref="Faithful"/> brings the
/// defects back, for comparisons.
/// </summary>
public sealed record AptOptions
{
    /// <summary>Probability that a probe drops a random token and not the one its agent likes least.</summary>
    public float Exploration { get; init; } = 0.5f;

    /// <summary>A token may be pruned where dropping it lowers the true class's probability by less than this.</summary>
    public float RewardMargin { get; init; }

    /// <summary>
    /// The share of the dense model's multiply-adds that a pruned pass may spend, agents included. Training then steers the
    /// threshold there, and the reward margin to the median reward; see <see cref="AptBudget"/>. Null: no budget.
    /// </summary>
    public float? TargetFlops { get; init; }

    /// <summary>Weight of the unpruned pass's own classification loss; the published procedure has none (0).</summary>
    public float PlainLoss { get; init; }

    /// <summary>
    /// How much of the pruned pass's target is what the unpruned pass of the same step says, and not the label: self-distillation.
    /// 0 (the published procedure) to 1.
    /// </summary>
    public float SelfDistill { get; init; }

    /// <summary>
    /// Share of the run, at its beginning, in which only the unpruned model is trained and no agent acts or learns: what an
    /// agent would learn from a backbone that knows nothing yet is soon wrong. The published procedure has none (0).
    /// </summary>
    public float PruneFrom { get; init; }

    public AgentContext Context { get; init; } = AgentContext.Plain;

    /// <summary>Probes an image and agent in each step; the published procedure has one.</summary>
    public int Probes { get; init; } = 1;

    /// <summary>
    /// Dropout active in the passes that rewards are computed from. It mixes noise into the sign of the reward; the published
    /// code has it on.
    /// </summary>
    public bool RewardDropout { get; init; }

    /// <summary>Random probes pick among the first (batch size - 1) patches only, as the published code does by mistake.</summary>
    public bool ExploreBatchRange { get; init; }

    /// <summary>Throws where a number makes no sense. <see cref="AptBudget"/> looks at its own two.</summary>
    internal AptOptions Checked()
    {
        if (!(Exploration >= 0 && Exploration <= 1)) throw new EspalierException($"exploration must be 0 to 1, not {Exploration}");
        if (!(PlainLoss >= 0 && float.IsFinite(PlainLoss))) throw new EspalierException($"the plain loss's weight must not be {PlainLoss}");
        if (!(SelfDistill >= 0 && SelfDistill <= 1)) throw new EspalierException($"self-distillation must be 0 to 1, not {SelfDistill}");
        if (!(PruneFrom >= 0 && PruneFrom <= 1)) throw new EspalierException($"the share of the run before pruning must be 0 to 1, not {PruneFrom}");
        if (Probes < 1) throw new EspalierException($"an agent needs at least one probe a step, not {Probes}");
        return this;
    }

    /// <summary>
    /// For a model that is not fine-tuned but trained from nothing: the unpruned pass is trained, too, teaches the pruned one, and
    /// has the first fifth of the run for itself.
    /// </summary>
    public static AptOptions FromScratch => new() { PlainLoss = 1, SelfDistill = 0.5f, PruneFrom = 0.2f };

    /// <summary>All options by name, as a training state keeps them.</summary>
    internal IEnumerable<(string Name, string Value)> Identity() =>
    [
        (nameof(Exploration), Text(Exploration)),
        (nameof(RewardMargin), Text(RewardMargin)),
        (nameof(TargetFlops), TargetFlops is { } share ? Text(share) : "none"),
        (nameof(PlainLoss), Text(PlainLoss)),
        (nameof(SelfDistill), Text(SelfDistill)),
        (nameof(PruneFrom), Text(PruneFrom)),
        (nameof(Context), Context.ToString()),
        (nameof(Probes), Text(Probes)),
        (nameof(RewardDropout), RewardDropout ? "yes" : "no"),
        (nameof(ExploreBatchRange), ExploreBatchRange ? "yes" : "no"),
    ];

    private static string Text(IFormattable value) => value.ToString(null, CultureInfo.InvariantCulture);

    /// <summary>The published code as it is, defects included.</summary>
    public static AptOptions Faithful => new() { RewardDropout = true, ExploreBatchRange = true };
}
