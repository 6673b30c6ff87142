using System.Globalization;

namespace Espalier.Peers;

/// <summary>A row of the comparison of two builds, over all runs.</summary>
/// <param name="Runs">[runs][rounds][old, new].</param>
/// <param name="Problem">Why there are no figures of some run; null where there are.</param>
internal sealed record BuildRow(string Section, string Name, Func<double, string> Format, double Bar,
    IReadOnlyList<double[][]> Runs, string? Problem)
{
    public const string Header = "| what | old | new | new / old, median | by run | best windows | |\n"
        + "| --- | ---: | ---: | ---: | --- | ---: | --- |\n";

    private IEnumerable<double[]> Rounds => Runs.SelectMany(run => run);

    /// <summary>The median over all rounds of the new figure over the old one of the same round.</summary>
    public double Median => MedianOf(Rounds);

    /// <summary>The best new figure over the best old one: of many windows the best are the least disturbed ones.</summary>
    public double Best => Rounds.Min(r => r[1]) / Rounds.Min(r => r[0]);

    /// <summary>Slower than allowed by both: one alone is what a shared machine shows now and then of equal builds.</summary>
    public bool IsSlower => Problem is null && Median > Bar && Best > Bar;

    public string Line
    {
        get
        {
            if (Problem is not null) return $"| {Name} | | | | | | not measured: {Problem} |";
            string byRun = string.Join(", ", Runs.Select(run => Ratio(MedianOf(run))));
            double old = Measurement.Median(Rounds.Select(r => r[0])), current = Measurement.Median(Rounds.Select(r => r[1]));
            return $"| {Name} | {Format(old)} | {Format(current)} | {Ratio(Median)} | {byRun} | {Ratio(Best)} | "
                + (IsSlower ? "slower |" : "|");
        }
    }

    private static double MedianOf(IEnumerable<double[]> rounds) => Measurement.Median(rounds.Select(r => r[1] / r[0]));

    private static string Ratio(double x) => x.ToString("0.000", CultureInfo.InvariantCulture);
}
