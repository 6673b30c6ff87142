using Espalier.Reporting;

namespace Espalier.Tests.Reporting;

public sealed class FiguresTests
{
    [Theory]
    [InlineData(17.563e9, "17.6 G")]
    [InlineData(999_600, "1.00 M")]
    [InlineData(950, "950")]
    [InlineData(double.NaN, "–")]
    public void MultiplyAddsHaveThreeDigitsAndAPrefix(double value, string text) => Assert.Equal(text, Plain(Figures.Si(value)));

    [Theory]
    [InlineData(0.003, "+0.3")]
    [InlineData(-0.0123, "−1.2")]
    [InlineData(-0.0001, "±0.0")]
    public void DifferencesCarryTheirSign(double value, string text) => Assert.Equal(text, Figures.Points(value));

    [Theory]
    [InlineData(1234567, "1 234 567")]
    [InlineData(99.96, "100")]
    [InlineData(9.996, "10.0")]
    [InlineData(0.25, "0.250")]
    [InlineData(0, "0.00")]
    [InlineData(0.00002, "2e−5")]
    public void SignificantDigits(double value, string text) => Assert.Equal(text, Plain(Figures.Significant(value)));

    [Theory]
    [InlineData(0.231, 2.3, new[] { 0, 0.5, 1, 1.5, 2, 2.5 })]
    [InlineData(0.871, 0.912, new[] { 0.87, 0.88, 0.89, 0.9, 0.91, 0.92 })]
    public void TicksAreRoundAndCoverTheValues(double low, double high, double[] ticks)
    {
        var axis = new Axis(low, high, 0, 100, 5);
        Assert.Equal(ticks.Length, axis.Ticks.Count);
        for (int i = 0; i < ticks.Length; i++) Assert.Equal(ticks[i], axis.Ticks[i], 9);
        Assert.Equal(100, axis[axis.Max], 6);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(5)]
    [InlineData(-1e6)]
    public void OneValueStillMakesAnAxis(double value)
    {
        var axis = new Axis(value, value, 0, 100, 5);
        Assert.InRange(axis[value], 0, 100);
        Assert.NotEmpty(axis.Ticks);
    }

    private static string Plain(string text) => text.Replace('\u202F', ' ');
}
