namespace Espalier.Compression;

/// <summary>How a pruning that is done in several rounds gets to its end.</summary>
public enum PruningSchedule
{
    /// <summary>The same share in each round.</summary>
    Linear,

    /// <summary>Much at first, little at the end: 1 - (1 - i/n)³ (Zhu and Gupta, arXiv 1710.01878, eq. 1).</summary>
    Agp,

    /// <summary>
    /// The same share of what is left in each round, so that rounds do not get harder as the network gets smaller.
    /// </summary>
    Remaining,
}

/// <summary>See <see cref="PruningSchedule"/>.</summary>
public static class PruningSchedules
{
    /// <summary>How much of the way is done after round <paramref name="round"/> (from 1) of <paramref name="rounds"/>.</summary>
    public static double Progress(this PruningSchedule schedule, int round, int rounds)
    {
        double done = (double)round / rounds;
        return schedule == PruningSchedule.Agp ? 1 - Math.Pow(1 - done, 3) : done;
    }

    /// <summary>The share that is left after round <paramref name="round"/>.</summary>
    /// <param name="end">What is left after the last round.</param>
    /// <param name="round">From 1; 0 is before the first.</param>
    public static double Left(this PruningSchedule schedule, double end, int round, int rounds)
    {
        double progress = schedule.Progress(round, rounds);
        return schedule == PruningSchedule.Remaining ? Math.Pow(end, progress) : 1 - (1 - end) * progress;
    }

    /// <summary>The selection of one round, whose ratio and share of the multiply-adds are of what is left before it. Time gets to its
    /// share of the whole by the same ratio in each round, whatever the schedule.</summary>
    /// <param name="left">The share of the multiply-adds that the rounds before have left, which round widths down and so take more than
    /// their part; null where they took it to the last one.</param>
    public static SelectionOptions Round(this SelectionOptions final, PruningSchedule schedule, int round, int rounds, double? left = null)
    {
        if (rounds == 1) return final;
        double Part(double end) => schedule.Left(end, round, rounds) / schedule.Left(end, round - 1, rounds);
        if (final.Ratio is { } ratio) return final with { Ratio = ratio.Map(r => 1 - Part(1 - r)) };
        if (final.TargetFlops is { } share)
        {
            double part = left is { } now ? schedule.Left(share, round, rounds) / now : Part(share);
            return final with { TargetFlops = Math.Min(part, Math.BitDecrement(1.0)) };
        }
        if (final.TargetTime is { } time) return final with { TargetTime = Math.Pow(time, (double)round / rounds) };
        return final;
    }
}
