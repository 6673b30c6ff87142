using Espalier.Training;

namespace Espalier.Compression.Apt;

/// <summary>
/// Holds training to a compute budget. While the pruned pass costs more than its share, the reward margin grows, so that
/// tokens count as worthless that help a little; while it costs less, the margin shrinks, below zero if need be. A pure
/// integral controller: the agents themselves take some hundred steps to follow.
/// </summary>
public sealed class AptBudget
{
    /// <summary>Change of the margin a step for an error of the whole budget.</summary>
    private const double Gain = 2e-4;

    /// <summary>A margin beyond this (in probability) could not be told from ignoring the reward.</summary>
    private const double MostMargin = 0.2;

    private readonly float? target;
    private double margin;

    /// <param name="target">Share of the dense model's multiply-adds, 0 to 1; null keeps the margin fixed.</param>
    public AptBudget(float margin, float? target)
    {
        if (target is { } t && !(t > 0 && t <= 1)) throw new EspalierException($"--target-flops must be more than 0 and at most 1, not {target}");
        if (!(MathF.Abs(margin) <= 1)) throw new EspalierException($"--reward-margin must be -1 to 1, not {margin}");
        this.margin = margin;
        this.target = target;
    }

    public float Margin => (float)margin;

    /// <summary>Takes note of the share that the last pruned pass cost.</summary>
    public void Observe(double share)
    {
        if (target is { } t) margin = Math.Clamp(margin + Gain * (share - t), -MostMargin, MostMargin);
    }

    internal void Save(StateWriter state) => state.Add("apt.margin", margin);

    internal void Load(StateReader state) => margin = state.ReadDoubles("apt.margin")[0];
}
