using Espalier.Compression;

namespace Espalier.Tests.Compression.StochasticDepth;

public sealed class SurvivalTests
{
    [Theory]
    [InlineData("Linear", new[] { 0.8333333, 0.6666667, 0.5 })]
    [InlineData("Linear", new[] { 0.875, 0.75, 0.625, 0.5 })]
    [InlineData("Ramp", new[] { 1, 0.8333333, 0.6666667, 0.5 })]
    [InlineData("Uniform", new[] { 0.5, 0.5 })]
    [InlineData("Ramp", new[] { 1.0 })]
    public void ProbabilitiesByPlace(string rule, double[] expected)
    {
        double[] actual = Survival.Of(Enum.Parse<SurvivalRule>(rule), expected.Length, 0.5);
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-7);
    }

    [Fact]
    public void The54BlocksOfThePaper()
    {
        double[] p = Survival.Of(SurvivalRule.Linear, 54, 0.5);
        Assert.Equal(0.9907407, p[0], 1e-7);
        Assert.Equal(0.5, p[^1]);
        Assert.Equal(40.25, p.Sum(), 1e-12);
        Assert.Equal((3 * 54 - 1) / 4.0, p.Sum(), 1e-12);
        Assert.Equal(0.254630, 1 - p.Sum() / 54, 1e-6);
        Assert.Equal(9.1242284, p.Sum(x => x * (1 - x)), 1e-7);
        Assert.Equal(3.0206, Math.Sqrt(p.Sum(x => x * (1 - x))), 1e-4);
        Assert.Equal(4.4964e-8, p.Aggregate(1.0, (product, x) => product * x), 1e-12);
    }
}
