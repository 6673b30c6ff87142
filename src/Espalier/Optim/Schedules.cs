namespace Espalier.Optim;

/// <summary>What the base learning rate is multiplied with.</summary>
public interface ISchedule
{
    /// <param name="step">The optimiser step that is about to run, from 1.</param>
    /// <param name="total">Steps of the whole run.</param>
    double Multiplier(long step, long total);
}

/// <summary>Where the decay after a warm-up of W steps begins.</summary>
public enum DecayStart
{
    /// <summary>
    /// Step k is at k - W of T - W: step W has the full rate, and the last step has what the decay ends with (0).
    /// </summary>
    AtWarmupEnd,

    /// <summary>
    /// One step later, at k - 1 - W: the decay's first step still has the full rate and the last is above its end.
    /// </summary>
    AfterWarmup,
}

/// <summary>The base rate in every step, with no warm-up.</summary>
public sealed class ConstantSchedule : ISchedule
{
    /// <inheritdoc/>
    public double Multiplier(long step, long total) => 1;
}

/// <summary>step / warm-up up to the warm-up's last step, then a decay.</summary>
public abstract class WarmupSchedule : ISchedule
{
    private readonly long warmup;
    private readonly DecayStart start;

    private protected WarmupSchedule(long warmup, DecayStart start)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(warmup);
        (this.warmup, this.start) = (warmup, start);
    }

    /// <inheritdoc/>
    public double Multiplier(long step, long total)
    {
        if (step <= warmup) return (double)step / warmup;
        long position = start == DecayStart.AtWarmupEnd ? step : step - 1;
        return Decay(position, (double)(position - warmup) / Math.Max(1, total - warmup), total);
    }

    /// <param name="position">Steps since the run's beginning.</param>
    /// <param name="progress">Share of the decay that has passed; past 1 where a run goes on beyond its total.</param>
    private protected abstract double Decay(long position, double progress, long total);
}

/// <summary>Warm-up, then a straight line to 0.</summary>
public sealed class LinearSchedule(long warmup, DecayStart start = DecayStart.AtWarmupEnd) : WarmupSchedule(warmup, start)
{
    private protected override double Decay(long position, double progress, long total) => Math.Max(0, 1 - progress);
}

/// <summary>Warm-up, then half a cosine to 0: 0.5·(1 + cos(π·progress)) (arXiv 1812.01187).</summary>
public sealed class CosineSchedule(long warmup, DecayStart start = DecayStart.AtWarmupEnd) : WarmupSchedule(warmup, start)
{
    private protected override double Decay(long position, double progress, long total) =>
        0.5 * (1 + Math.Cos(Math.PI * Math.Clamp(progress, 0, 1)));
}

/// <summary>Warm-up, the full rate, and half a cosine to 0 at the end: what Ranger's author advises.</summary>
/// <param name="flat">Share of the steps after the warm-up at the full rate.</param>
public sealed class FlatCosineSchedule(long warmup, double flat = 0.75, DecayStart start = DecayStart.AtWarmupEnd)
    : WarmupSchedule(warmup, start)
{
    private protected override double Decay(long position, double progress, long total) =>
        0.5 * (1 + Math.Cos(Math.PI * Math.Clamp((progress - flat) / (1 - flat), 0, 1)));
}

/// <summary>Warm-up, then a tenth at each milestone.</summary>
/// <param name="milestones">
/// Steps from which on the rate is a tenth of what it was; none for half and three quarters of the run.
/// </param>
public sealed class MultiStepSchedule(long warmup, IReadOnlyList<long>? milestones = null,
    DecayStart start = DecayStart.AtWarmupEnd)
    : WarmupSchedule(warmup, start)
{
    private protected override double Decay(long position, double progress, long total)
    {
        int passed = milestones is { Count: > 0 }
            ? milestones.Count(m => m <= position)
            : (position >= total / 2 ? 1 : 0) + (position >= total * 3 / 4 ? 1 : 0);
        return Math.Pow(0.1, passed);
    }
}

/// <summary>
/// A fifth at 30, 60 and 80 % of the run, after one two-hundredth of it at a tenth of the rate: what CIFAR networks are trained with
/// in Soft Filter Pruning (arXiv 1808.06866), whose 200 epochs have 0.01, 0.1, 0.02, 0.004 and 0.0008.
/// </summary>
public sealed class FifthsSchedule : ISchedule
{
    /// <summary>From which two-hundredth on the rate is which share of the full one.</summary>
    private static readonly (int From, double Rate)[] Stages = [(0, 0.1), (1, 1), (60, 0.2), (120, 0.04), (160, 0.008)];

    /// <inheritdoc/>
    public double Multiplier(long step, long total) => Stages.Last(s => 200 * (step - 1) >= s.From * total).Rate;
}

/// <summary>Schedules by the names that the command line uses.</summary>
public static class Schedules
{
    /// <summary>The names that <see cref="Parse"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = ["constant", "linear", "cosine", "multistep", "flat-cosine", "fifths"];

    /// <param name="warmup">Steps; a constant rate has none, "fifths" its own, and both ignore it.</param>
    /// <param name="milestones">Steps, for "multistep" only.</param>
    /// <exception cref="EspalierException">There is no schedule of that name.</exception>
    public static ISchedule Parse(string name, long warmup = 0, IReadOnlyList<long>? milestones = null) => name switch
    {
        "constant" => new ConstantSchedule(),
        "linear" => new LinearSchedule(warmup),
        "cosine" => new CosineSchedule(warmup),
        "multistep" => new MultiStepSchedule(warmup, milestones),
        "flat-cosine" => new FlatCosineSchedule(warmup),
        "fifths" => new FifthsSchedule(),
        _ => throw new EspalierException($"'{name}' is not a learning rate schedule; choose one of {string.Join(", ", Names)}."),
    };
}
