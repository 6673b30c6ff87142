namespace Espalier.Compression;

/// <summary>Which filters go when the layers' overlaps are known.</summary>
internal static class DropRule
{
    /// <summary>The share that each layer keeps at least.</summary>
    public const double LeastShare = 0.1;

    /// <summary>
    /// The filters of each layer to drop, rising. Globally those above the percentile of 1 - <paramref name="share"/>; else the
    /// floor of the share of each layer. The most overlapping go first, the lower number where two are equal.
    /// </summary>
    /// <param name="overlap">For each layer a value a filter.</param>
    /// <param name="fewest">What a layer of so many filters keeps at least.</param>
    public static int[][] Choose(IReadOnlyList<double[]> overlap, double share, bool global, Func<int, int> fewest)
    {
        double threshold = Percentile([.. overlap.SelectMany(o => o)], 1 - share);
        return [.. overlap.Select(o =>
        {
            int wanted = global ? o.Count(x => x > threshold) : (int)Math.Floor(share * o.Length + 1e-9);
            int count = Math.Min(wanted, o.Length - fewest(o.Length));
            return Enumerable.Range(0, o.Length).OrderByDescending(f => o[f]).ThenBy(f => f).Take(count).Order().ToArray();
        })];
    }

    /// <summary>One filter, or a tenth.</summary>
    public static int Fewest(int filters) => Math.Max(1, (int)Math.Ceiling(LeastShare * filters - 1e-9));

    /// <summary>With linear interpolation between neighbours, as NumPy has it.</summary>
    public static double Percentile(double[] values, double share)
    {
        double[] sorted = [.. values.Order()];
        double place = share * (sorted.Length - 1);
        int below = (int)Math.Floor(place);
        double above = sorted[Math.Min(below + 1, sorted.Length - 1)];
        return sorted[below] + (place - below) * (above - sorted[below]);
    }
}
