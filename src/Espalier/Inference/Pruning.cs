using System.Globalization;

namespace Espalier.Inference;

/// <summary>Which tokens the agents of a model drop.</summary>
public readonly record struct Pruning
{
    private readonly float threshold;
    private readonly double share;

    private Pruning(bool active, float threshold, double share) => (IsActive, this.threshold, this.share) = (active, threshold, share);

    /// <summary>The agents are not asked, every token stays.</summary>
    public static Pruning None => default;

    /// <summary>Each agent drops the tokens whose p(prune) is greater than <paramref name="threshold"/>, as APT does: how many
    /// depends on the image.</summary>
    /// <exception cref="EspalierException">The threshold is no number, and would keep every token in silence.</exception>
    public static Pruning Threshold(float threshold) => float.IsNaN(threshold)
        ? throw new EspalierException("the pruning threshold is not a number; give one from 0 to 1")
        : new(true, threshold, 0);

    /// <summary>Each agent keeps the ceil(<paramref name="share"/> · n) tokens with the lowest p(prune) of the n patch tokens that it
    /// sees, the first of equals: the same cost for every image.</summary>
    /// <param name="share">More than 0, at most 1.</param>
    /// <exception cref="EspalierException">The share is out of range.</exception>
    public static Pruning KeepShare(double share) => share is > 0 and <= 1
        ? new(true, 0, share)
        : throw new EspalierException($"the share of tokens to keep must be above 0 and at most 1, not {share}");

    /// <summary>Whether the agents act at all.</summary>
    public bool IsActive { get; }

    /// <summary>Such as "threshold 0.5", for people.</summary>
    public override string ToString() => !IsActive ? "unpruned" : ByShare
        ? string.Create(CultureInfo.InvariantCulture, $"keep share {share:0.###}")
        : string.Create(CultureInfo.InvariantCulture, $"threshold {threshold:0.###}");

    internal bool ByShare => share > 0;

    internal float Limit => threshold;

    /// <summary>Patch tokens that stay of <paramref name="present"/> ones. The small number makes 0.07 of 100 seven, not eight.
    /// </summary>
    internal int Kept(int present) => (int)Math.Min(present, Math.Ceiling(share * present - 1e-9));
}
