namespace Espalier.Compression;

/// <summary>How a pruning that is done in several rounds gets to its end.</summary>
public enum PruningSchedule
{
    /// <summary>The same share in each round.</summary>
    Linear,

    /// <summary>Much at first, little at the end: 1 - (1 - i/n)³ (Zhu and Gupta, arXiv 1710.01878, eq. 1).</summary>
    Agp,
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

    /// <summary>
    /// The selection of one round. A share to keep is reached in equal or AGP steps from 1; the ratio of a round is of the
    /// channels that are left.
    /// </summary>
    public static SelectionOptions Round(this SelectionOptions final, PruningSchedule schedule, int round, int rounds)
    {
        if (rounds == 1) return final;
        double now = schedule.Progress(round, rounds), before = schedule.Progress(round - 1, rounds);
        if (final.Ratio is { } ratio) return final with { Ratio = 1 - (1 - ratio * now) / (1 - ratio * before) };
        if (final.TargetFlops is { } share) return final with { TargetFlops = (1 - (1 - share) * now) / (1 - (1 - share) * before) };
        return final;
    }
}
