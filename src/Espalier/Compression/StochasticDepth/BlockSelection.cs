using System.Globalization;

namespace Espalier.Compression;

/// <summary>
/// How many residual blocks go: a number of them, or what the target of a <see cref="SelectionOptions"/> asks for, where a ratio
/// is the share of the blocks that could go.
/// </summary>
internal sealed class BlockSelection
{
    private readonly int? remove;
    private readonly SelectionOptions target;
    private readonly int blocks;
    private readonly long multiplyAdds;

    /// <param name="remove">Number of blocks; null to go by <paramref name="target"/>.</param>
    /// <param name="blocks">How many could go, before the first round.</param>
    /// <param name="multiplyAdds">Of the network before the first round.</param>
    /// <param name="least">Of the network without all blocks that could go.</param>
    /// <exception cref="EspalierException">It cannot be done.</exception>
    public BlockSelection(int? remove, SelectionOptions target, int blocks, long multiplyAdds, long least)
    {
        (this.remove, this.target, this.blocks, this.multiplyAdds) = (remove, target.Checked(), blocks, multiplyAdds);
        if (remove > blocks)
            throw new EspalierException($"{remove} blocks cannot be removed: the network could do without only {blocks}");
        if (remove is not null) return;
        if (target.Ratio * blocks + 1e-9 < 1)
            throw new EspalierException(string.Create(CultureInfo.InvariantCulture,
                $"nothing would be removed: {target.Ratio} of the {blocks} blocks that could go is less than one; ask for more"));
        if (target.TargetFlops * multiplyAdds < least)
            throw Unreachable(target.TargetFlops!.Value, (double)least / multiplyAdds, "of the multiply-adds");
    }

    /// <summary>How many of the blocks that are left go now.</summary>
    /// <param name="left">The share that is to be left now, from the share that is left in the end.</param>
    /// <param name="scores">Of the blocks that are left, rising.</param>
    /// <param name="cost">Multiply-adds, or milliseconds for a target of those, without the first so many of them.</param>
    /// <exception cref="EspalierException">Not even all of them reach the target.</exception>
    public int Count(Func<double, double> left, IReadOnlyList<double> scores, Func<int, double> cost)
    {
        int gone = blocks - scores.Count;
        if (remove is { } number) return Due(number) - gone;
        if (target.Ratio is { } ratio) return Due(ratio * blocks) - gone;
        if (target.Threshold is { } threshold) return scores.Count(s => s <= threshold);
        if (target.TargetFlops is { } share)
            return Fewest(scores.Count, k => cost(k) / multiplyAdds, left(share), "of the multiply-adds");
        return Fewest(scores.Count, cost, target.TargetLatency!.Value, "ms");

        int Due(double all) => (int)Math.Floor(blocks * (1 - left(1 - all / blocks)) + 1e-9);
    }

    private static int Fewest(int all, Func<int, double> cost, double goal, string unit)
    {
        double least = cost(all);
        if (least > goal) throw Unreachable(goal, least, unit);
        int low = 0, high = all;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (cost(middle) <= goal) high = middle;
            else low = middle + 1;
        }
        return low;
    }

    private static EspalierException Unreachable(double goal, double least, string unit) =>
        new(string.Create(CultureInfo.InvariantCulture,
            $"removing blocks does not reach {goal:0.###} {unit}: without all that could go it is {least:0.###}; ")
            + "ask for less, or remove channels as well");
}
