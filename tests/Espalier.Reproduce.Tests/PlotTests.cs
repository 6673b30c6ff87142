using System.Text.RegularExpressions;

namespace Espalier.Reproduce.Tests;

public sealed class PlotTests
{
    [Fact]
    public void Lines_are_told_apart_without_colour_and_say_their_values()
    {
        var plot = new Plot("epochs", 0, 4, "accuracy, %", 80, 95);
        plot.Line([(1, 90), (2, 91.25)], "red", "first");
        plot.Line([(1, 85), (2, 88)], "red", "second");
        string svg = plot.ToString();
        string[] dashes = [.. Regex.Matches(svg, "<polyline [^>]*stroke-dasharray=\"([^\"]*)\"").Select(m => m.Groups[1].Value)];
        Assert.Equal(2, dashes.Distinct().Count());
        // Each once more beside its name.
        Assert.All(dashes, d => Assert.Equal(2, Regex.Count(svg, $"stroke-dasharray=\"{d}\"")));
        Assert.Contains("<title>first: 2, 91.25</title>", svg);
        Assert.Contains(">second</text>", svg);
    }
}
