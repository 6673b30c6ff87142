using Espalier.Training;

namespace Espalier.Compression.Methods.Apt;

/// <summary>
/// Holds training to a compute budget, with two things that it moves:
/// <list type="bullet">
/// <item>the threshold of p(prune), in logits, falls while a pruned pass costs more than its share and rises while it costs
/// less. It acts at once, so the share is held within a few steps;</item>
/// <item>each agent's reward margin follows the median of its rewards, so that half of its probes say "prune" and half
/// "keep". With a fixed margin nearly all rewards end on one side of it, and an agent that always hears the same answer no
/// longer ranks tokens.</item>
/// </list>
/// Without a budget both stay as they are given: threshold 0.5, one margin for all.
/// </summary>
public sealed class AptBudget
{
    /// <summary>Logits that the threshold moves in a step, for an error of the whole budget.</summary>
    private const double ThresholdGain = 0.1;

    /// <summary>How far a margin moves in a step, in mean absolute rewards, for an error of the whole label share.</summary>
    private const double MarginGain = 0.1;

    /// <summary>Weight of a new step in the mean absolute reward.</summary>
    private const double Smoothing = 0.05;

    /// <summary>Logits beyond which nothing more can be said by a threshold.</summary>
    private const double MostLogits = 8;

    private readonly float? target;
    private readonly double[] margins, scales;
    private double logit;

    /// <param name="agents">Number of agents.</param>
    /// <param name="margin">The reward margin at the beginning, in probability.</param>
    /// <param name="target">Share of the dense model's multiply-adds, 0 to 1; null for no budget.</param>
    /// <param name="threshold">The threshold at the beginning, 0 to 1.</param>
    public AptBudget(int agents, float margin, float? target, float threshold = 0.5f)
    {
        if (target is { } t && !(t > 0 && t <= 1)) throw new EspalierException($"Budget must be more than 0 and at most 1, not {target}");
        if (!(MathF.Abs(margin) <= 1)) throw new EspalierException($"RewardMargin must be -1 to 1, not {margin}");
        this.target = target;
        margins = new double[agents];
        Array.Fill(margins, margin);
        scales = new double[agents];
        double p = Math.Clamp(threshold, 0f, 1f);
        logit = Math.Clamp(Math.Log(p / (1 - p)), -MostLogits, MostLogits);
    }

    /// <summary>Whether there is a budget to hold.</summary>
    public bool Steers => target is not null;

    /// <summary>Where the budget has the threshold of p(prune).</summary>
    public float Threshold => (float)LearnedNumbers.Sigmoid(logit);

    /// <summary>The reward margin of an agent, in probability.</summary>
    public float Margin(int agent) => (float)margins[agent];

    /// <summary>Takes note of the share of the dense model's multiply-adds that the last pruned pass cost.</summary>
    public void ObserveCompute(double share)
    {
        if (target is { } t) logit = Math.Clamp(logit - ThresholdGain * (share - t), -MostLogits, MostLogits);
    }

    /// <summary>Takes note of an agent's last rewards.</summary>
    /// <param name="pruneShare">Share of its probes that were labelled "prune".</param>
    /// <param name="meanAbsoluteReward">In probability.</param>
    public void ObserveRewards(int agent, double pruneShare, double meanAbsoluteReward)
    {
        if (!Steers) return;
        double old = scales[agent];
        scales[agent] = old == 0 ? meanAbsoluteReward : old + Smoothing * (meanAbsoluteReward - old);
        margins[agent] = Math.Clamp(margins[agent] + MarginGain * scales[agent] * (0.5 - pruneShare), -1, 1);
    }

    /// <summary>All that moves; of several budgets their mean is one again.</summary>
    internal double[] Numbers
    {
        get => [logit, .. margins, .. scales];
        set
        {
            logit = value[0];
            value.AsSpan(1, margins.Length).CopyTo(margins);
            value.AsSpan(1 + margins.Length).CopyTo(scales);
        }
    }

    /// <summary>One that goes on from here by itself.</summary>
    internal AptBudget Copy()
    {
        var copy = new AptBudget(margins.Length, 0, target) { logit = logit };
        margins.CopyTo(copy.margins, 0);
        scales.CopyTo(copy.scales, 0);
        return copy;
    }

    internal void Save(StateWriter state)
    {
        state.Add("apt.margins", margins);
        state.Add("apt.reward-scales", scales);
        state.Add("apt.threshold-logit", logit);
    }

    internal void Load(StateReader state)
    {
        Read(state, "apt.margins", margins);
        Read(state, "apt.reward-scales", scales);
        double[] one = new double[1];
        Read(state, "apt.threshold-logit", one);
        logit = one[0];
    }

    private static void Read(StateReader state, string name, double[] into)
    {
        double[] values = state.ReadDoubles(name);
        if (values.Length != into.Length || !Array.TrueForAll(values, double.IsFinite))
            throw new EspalierException($"the training state's {name} is damaged; delete the state and start again");
        values.CopyTo(into, 0);
    }
}
