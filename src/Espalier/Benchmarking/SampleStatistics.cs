namespace Espalier.Benchmarking;

/// <summary>What a set of times says, all in the samples' own unit.</summary>
/// <param name="StandardDeviation">Of a sample: divided by n - 1; 0 for one value.</param>
/// <param name="P50">The median. Percentiles are interpolated between neighbours, as numpy does.</param>
public sealed record SampleStatistics(
    int Count, double Mean, double StandardDeviation, double Least, double P50, double P90, double P99, double Most)
{
    /// <exception cref="ArgumentException">There are no samples.</exception>
    public static SampleStatistics Of(IEnumerable<long> samples)
    {
        double[] sorted = [.. samples.Select(s => (double)s).Order()];
        if (sorted.Length == 0) throw new ArgumentException("statistics of no samples", nameof(samples));
        double mean = sorted.Average(), squares = sorted.Sum(s => (s - mean) * (s - mean));
        return new SampleStatistics(sorted.Length, mean, sorted.Length < 2 ? 0 : Math.Sqrt(squares / (sorted.Length - 1)),
            sorted[0], Percentile(sorted, 50), Percentile(sorted, 90), Percentile(sorted, 99), sorted[^1]);
    }

    /// <summary>The value below which <paramref name="percent"/> % of the samples lie.</summary>
    private static double Percentile(double[] sorted, double percent)
    {
        double place = percent / 100 * (sorted.Length - 1);
        int below = (int)place;
        double above = sorted[Math.Min(below + 1, sorted.Length - 1)];
        return sorted[below] + (place - below) * (above - sorted[below]);
    }
}
