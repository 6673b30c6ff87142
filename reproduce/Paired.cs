namespace Espalier.Reproduce;

/// <summary>How much better one line is than another, seed by seed: what both have of a seed falls out.</summary>
/// <param name="Mean">Mean difference.</param>
/// <param name="Half">Half of the 95 % confidence interval of the mean, by Student's t; infinite for one seed.</param>
internal sealed record Paired(double Mean, double Half)
{
    // The 0.975 quantiles of Student's t with 1, 2, ... degrees of freedom.
    private static readonly double[] Quantiles =
    [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110,
        2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];

    /// <param name="some">By seed.</param>
    /// <param name="others">By the same seeds.</param>
    public static Paired Of(IReadOnlyList<double> some, IReadOnlyList<double> others)
    {
        double[] differences = [.. some.Zip(others, (a, b) => a - b)];
        double mean = differences.Average();
        if (differences.Length == 1) return new(mean, double.PositiveInfinity);
        // Beyond the table its last number is a little too large, which is the careful side.
        double quantile = Quantiles[Math.Min(differences.Length - 1, Quantiles.Length) - 1];
        return new(mean, quantile * Deviation(differences) / Math.Sqrt(differences.Length));
    }

    /// <summary>Sample standard deviation; 0 of one value.</summary>
    public static double Deviation(IReadOnlyList<double> values)
    {
        if (values.Count < 2) return 0;
        double mean = values.Average();
        return Math.Sqrt(values.Sum(v => (v - mean) * (v - mean)) / (values.Count - 1));
    }

    /// <summary>In points of per cent: "+0.12 ± 0.30".</summary>
    public override string ToString() => double.IsInfinity(Half) ? FormattableString.Invariant($"{100 * Mean:+0.00;-0.00;0.00}")
        : FormattableString.Invariant($"{100 * Mean:+0.00;-0.00;0.00} ± {100 * Half:0.00}");
}
