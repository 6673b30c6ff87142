using System.Globalization;
using Espalier.Models;
using Espalier.Training;

namespace Espalier.Compression.Methods.Apt;

/// <summary>In which company of tokens the agents are trained.</summary>
public enum AgentContext
{
    /// <summary>On the unpruned features, only the agent in question acting: the published procedure.</summary>
    Plain,

    /// <summary>On the features that the earlier agents leave, as at inference.</summary>
    Pruned,

    /// <summary>On what the earlier agents and the one in question itself leave: a probe takes one more token away or puts one back.
    /// Among many tokens that show the same thing each looks worthless; here it is seen what the last of them is worth.</summary>
    Acting,
}

/// <summary>
/// The automatic pruning transformer: agents after a few blocks of a vision transformer learn by reinforcement which tokens of each
/// image are worthless, and these are dropped. How it is trained: the defaults are the published procedure with its defects
/// corrected; <see cref="Faithful"/> brings the defects back, for comparisons.
/// </summary>
public sealed record Apt : CompressionMethod, ITrainingMethod
{
    private static readonly MethodSettings<Apt> Known = new()
    {
        { "exploration", m => m.Exploration, (m, x) => m with { Exploration = x }, 0f, 1f,
            "probability that a probe drops a random token and not its agent's choice" },
        { "reward-margin", m => m.RewardMargin, (m, x) => m with { RewardMargin = x }, -1f, 1f,
            "a token is worthless where dropping it costs the true class less probability than this" },
        { "budget", m => m.Budget is { } share ? Text(share) : "none", (m, x) => x == "none" ? m with { Budget = null }
            : float.TryParse(x, CultureInfo.InvariantCulture, out float share) && share is > 0 and <= 1 ? m with { Budget = share } : null,
            "share of the dense model's multiply-adds that training steers a pruned pass to", "a number above 0 up to 1, or none", nameof(Budget) },
        { "plain-loss", m => m.PlainLoss, (m, x) => m with { PlainLoss = x }, 0f, float.PositiveInfinity,
            "weight of the unpruned pass's loss" },
        { "self-distill", m => m.SelfDistill, (m, x) => m with { SelfDistill = x }, 0f, 1f,
            "how much of the pruned pass's target is what the unpruned pass says" },
        { "prune-from", m => m.PruneFrom, (m, x) => m with { PruneFrom = x }, 0f, 1f,
            "share of the run in which only the unpruned model is trained" },
        { "reward", m => m.Reward, (m, x) => m with { Reward = x },
            "what a probe is paid by: the answer staying as it was, or the true class; usually the former where there is a budget" },
        { "context", m => m.Context, (m, x) => m with { Context = x },
            "train agents on unpruned features, on what earlier agents leave, or on what they themselves leave, too" },
        { "probes", m => m.Probes, (m, x) => m with { Probes = x }, 1, 1024, "probes an image and agent in each step" },
        { "reward-dropout", m => m.RewardDropout, (m, x) => m with { RewardDropout = x }, "dropout in the passes that rewards come of" },
        { "explore-batch-range", m => m.ExploreBatchRange, (m, x) => m with { ExploreBatchRange = x },
            "random probes pick among the first patches only, as the published code" },
        { "keep-bias", m => m.KeepBias, (m, x) => m with { KeepBias = x }, -100f, 100f,
            "added to new agents' \"keep\" logit: an untrained agent drops less" },
        { "layers", m => m.Layers is { } l ? string.Join('+', l) : "usual", (m, x) => x == "usual" ? m with { Layers = null }
            : Blocks(x) is { } blocks ? m with { Layers = blocks } : null,
            "the blocks that new agents act after, from 0", "numbers of blocks such as 2+5+8, or usual", nameof(Layers) },
    };

    /// <inheritdoc/>
    public override string Name => "apt";

    /// <inheritdoc/>
    public override string Purpose => "trains agents in a vision transformer that drop the worthless tokens of each image";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool TrainsFirst => true;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses => [new(NetworkTraits.DropsTokens | NetworkTraits.MergesTokens
        | NetworkTraits.FewerQueries, "its threshold would rule all places where tokens go"), CompressionOrder.Grid,
        CompressionOrder.FewBits];

    /// <inheritdoc/>
    public override NetworkTraits Leaves => NetworkTraits.HasAgents;

    /// <inheritdoc/>
    public override bool Removes => false;

    /// <summary>Probability that a probe drops a random token and not the one its agent likes least.</summary>
    public float Exploration { get; init; } = 0.5f;

    /// <summary>A token may be pruned where dropping it lowers the true class's probability by less than this.</summary>
    public float RewardMargin { get; init; }

    /// <summary>
    /// The share of the dense model's multiply-adds that a pruned pass may spend, agents included. Training then steers the
    /// threshold there, and the reward margin to the median reward; see <see cref="AptBudget"/>. Null: no budget.
    /// </summary>
    public float? Budget { get; init; }

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

    /// <summary>What a probe is paid by; null: the answer about the whole image where there is a <see cref="Budget"/>, else the true
    /// class's probability, as published.</summary>
    public AgentReward? Reward { get; init; }

    /// <summary>In which company of tokens a probe's token is judged; null: <see cref="AgentContext.Acting"/> where agents are paid by
    /// <see cref="AgentReward.Agreement"/>, else unpruned features, as published.</summary>
    public AgentContext? Context { get; init; }

    /// <summary>Probes an image and agent in each step; the published procedure has one.</summary>
    public int Probes { get; init; } = 1;

    /// <summary>
    /// Dropout active in the passes that rewards are computed from. It mixes noise into the sign of the reward; the published
    /// code has it on.
    /// </summary>
    public bool RewardDropout { get; init; }

    /// <summary>Random probes pick among the first (batch size - 1) patches only, as the published code does by mistake.</summary>
    public bool ExploreBatchRange { get; init; }

    /// <summary>Added to the "keep" logit of new agents, so that they drop less before they are trained.</summary>
    public float KeepBias { get; init; }

    /// <summary>Blocks (0-based, rising) that new agents act after; null for 2, 5 and 8 of 12, and the same parts (1/4, 1/2, 3/4) of
    /// other depths.</summary>
    public IReadOnlyList<int>? Layers { get; init; }

    /// <summary>
    /// For a model that is not fine-tuned but trained from nothing: the unpruned pass is trained, too, teaches the pruned one, and
    /// has the first fifth of the run for itself.
    /// </summary>
    public static Apt FromScratch => new() { PlainLoss = 1, SelfDistill = 0.5f, PruneFrom = 0.2f, Reward = AgentReward.TrueClass };

    /// <summary>The published code as it is, defects included.</summary>
    public static Apt Faithful => new() { RewardDropout = true, ExploreBatchRange = true, Reward = AgentReward.TrueClass };

    /// <inheritdoc/>
    public float? UsualDropout => RewardDropout ? 0.1f : null;

    /// <inheritdoc/>
    public CompressionMethod UsualFor(bool fromScratch) => fromScratch ? FromScratch : new Apt();

    /// <inheritdoc/>
    public ITrainingTask NewTask(Model model, float dropout, float labelSmoothing, ulong seed)
    {
        CompressionOrder.Check(this, model.Graph);
        if (TokenAgent.Find(model.Graph).Count == 0) TokenAgents.Add(model, Layers, seed, KeepBias);
        return new AptTask(model, this, dropout, labelSmoothing);
    }

    /// <inheritdoc/>
    /// <remarks>Trains backbone and agents together; the target is the budget, where <see cref="Budget"/> gives none.</remarks>
    public override void Run(CompressionJob job)
    {
        long steps = TrainSteps + FineTuneSteps;
        if (steps == 0) throw new EspalierException("apt trains agents, so that it needs steps, but TrainSteps is 0");
        if (Task.Mixing.IsOn || Task.Distillation is not null)
            throw new EspalierException("apt has losses of its own: leave mixing of images and the teacher out");
        if (HasTarget && (Selection.TargetFlops is null || Budget is not null))
            throw new EspalierException("apt takes TargetFlops or a Budget, and no other target");
        Apt how = Budget is null && Selection.TargetFlops is { } share ? this with { Budget = (float)share } : this;
        job.Train("agents", steps, how.NewTask(job.Model, UsualDropout ?? 0, Task.LabelSmoothing, Seed));
    }

    internal AgentReward PaidBy => Reward ?? (Budget is null ? AgentReward.TrueClass : AgentReward.Agreement);

    internal AgentContext Company => Context ?? (PaidBy == AgentReward.Agreement ? AgentContext.Acting : AgentContext.Plain);

    internal bool Acts => Company == AgentContext.Acting;

    /// <summary>All options by name, as a training state keeps them.</summary>
    internal IEnumerable<(string Name, string Value)> Identity() =>
        [.. Known.Where(s => s.Name is not ("keep-bias" or "layers")).Select(s => (s.Property, s.Of(this)))];

    private static int[]? Blocks(string text)
    {
        int[] blocks = [.. text.Split('+').Select(t => int.TryParse(t, NumberStyles.None, CultureInfo.InvariantCulture, out int b) ? b : -1)];
        return blocks.All(b => b >= 0) ? blocks : null;
    }

    private static string Text(float share) => share.ToString(CultureInfo.InvariantCulture);
}
