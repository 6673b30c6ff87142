namespace Espalier.Peers;

/// <summary>What the lanes gave, round by round. A machine that slows down or speeds up does so to all lanes of a round alike,
/// so ratios are taken within rounds and their median is what counts.</summary>
/// <param name="Figures">[rounds][lanes].</param>
internal sealed record Measurement(double[][] Figures)
{
    /// <summary>The median of a lane's figures.</summary>
    public double Of(int lane) => Median(Figures.Select(r => r[lane]));

    /// <summary>The median over rounds of the figure of one lane over that of another.</summary>
    public double Ratio(int numerator, int denominator) => Median(r => r[numerator] / r[denominator]);

    /// <summary>The median over rounds of anything made of a round's figures.</summary>
    public double Median(Func<double[], double> figure) => Median(Figures.Select(figure));

    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        int half = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    }
}
