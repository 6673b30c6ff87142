using System.Globalization;
using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>Which tokens a model drops in a run.</summary>
public readonly record struct Pruning
{
    private readonly KeepRule rule;
    private readonly bool own;

    private Pruning(KeepRule rule, bool own = false) =>
        (IsActive, this.rule, this.own) = (own || rule.By != KeepBy.All, rule, own);

    /// <summary>Nothing is asked what to drop, every token stays.</summary>
    public static Pruning None => default;

    /// <summary>At each place by the rule that the model has there.</summary>
    public static Pruning Own => new(default, own: true);

    /// <summary>At each place of agents by one rule, see <see cref="KeepRowsOp"/>, at others by the model's own; in a model without
    /// agents at each place that drops tokens.</summary>
    public static Pruning By(KeepRule rule) => new(rule);

    /// <summary>Each agent drops the tokens whose p(prune) is greater than <paramref name="threshold"/>, as APT does: how many
    /// depends on the image. (Its score of a row to be kept is -p(prune).)</summary>
    /// <exception cref="EspalierException">The threshold is no number, and would keep every token in silence.</exception>
    public static Pruning Threshold(float threshold) => float.IsNaN(threshold)
        ? throw new EspalierException("the pruning threshold is not a number; give one from 0 to 1")
        : new(KeepRule.AtLeast(-threshold));

    /// <summary>Of n tokens that may be dropped the ceil(<paramref name="share"/> · n) with the highest scores (APT: the lowest
    /// p(prune)) stay, the first of equals: the same cost for every image.</summary>
    /// <param name="share">More than 0, at most 1.</param>
    /// <exception cref="EspalierException">The share is out of range.</exception>
    public static Pruning KeepShare(double share) => share is > 0 and <= 1
        ? new(KeepRule.Share(share))
        : throw new EspalierException($"the share of tokens to keep must be above 0 and at most 1, not {share}");

    /// <summary>Whether anything is dropped at all.</summary>
    public bool IsActive { get; }

    /// <summary>Such as "threshold 0.5", for people.</summary>
    public override string ToString() => !IsActive ? "unpruned" : own ? "the model's own rules" : rule.By switch
    {
        KeepBy.Share => string.Create(CultureInfo.InvariantCulture, $"keep share {rule.ShareOfRows:0.###}"),
        KeepBy.Count => string.Create(CultureInfo.InvariantCulture, $"keep {rule.Most} tokens"),
        KeepBy.Tokens => string.Create(CultureInfo.InvariantCulture, $"keep {rule.List!.Length} tokens of a list"),
        _ => string.Create(CultureInfo.InvariantCulture, $"threshold {-rule.Limit:0.###}"),
    };

    /// <summary>What a graph says; <see cref="Own"/> where its places differ.</summary>
    internal static Pruning Of(Graph graph)
    {
        KeepRule[] rules = [.. graph.Nodes.Select(n => n.Op).OfType<KeepRowsOp>().Select(k => k.Rule).Distinct()];
        return rules.Length == 0 ? None : rules.Length == 1 ? By(rules[0]) : Own;
    }

    /// <summary>The threshold of all places that a rule is for; null where it is by another rule.</summary>
    internal float? ThresholdOfAll => !own && rule.By == KeepBy.Limit ? -rule.Limit : null;

    /// <summary>The share that all places keep that a rule is for; null where it is by another rule.</summary>
    internal double? ShareOfAll => !own && rule.By == KeepBy.Share ? rule.ShareOfRows : null;

    /// <summary>The rule of all places that one is for; null for those of the model.</summary>
    internal KeepRule? Rule => own ? null : rule;

    /// <summary>Whether images may come to have different numbers of tokens.</summary>
    internal bool IsUneven => own || rule.By == KeepBy.Limit;
}
