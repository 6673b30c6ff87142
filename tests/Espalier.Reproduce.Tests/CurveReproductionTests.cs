namespace Espalier.Reproduce.Tests;

public sealed class CurveReproductionTests
{
    /// <summary>A line that could lose no more has fewer rounds: lines are compared at the last round that all have.</summary>
    [Fact]
    public void Lines_are_compared_where_all_have_come_to()
    {
        (ComparedMethod, RunRecord[])[] curves =
        [
            (CurveReproduction.Lines[0], [Of(0.9, 85), Of(0.8, 70), Of(0.1, 55)]),
            (CurveReproduction.Lines[1], [Of(0.85, 85), Of(0.82, 70)]),
        ];
        Assert.Equal("With 0.7 of the multiply-adds left, from best to worst: L1 norm (82.00 %), random channels (80.00 %).",
            CurveReproduction.Verdict(curves));

        string[] lines = CurveReproduction.Table(Of(0.93, 100), curves).TrimEnd().Split('\n');
        Assert.Equal("| channels chosen by | whole | 0.85 left | 0.7 left | 0.55 left | 0.4 left | 0.3 left | 0.2 left |", lines[0]);
        Assert.Equal("| L1 norm | 93.00 | 85.00 | 82.00 | out of reach | out of reach | out of reach | out of reach |", lines[3]);
        Assert.All(lines, l => Assert.Equal(lines[0].Count(c => c == '|'), l.Count(c => c == '|')));
    }

    private static RunRecord Of(double accuracy, double multiplyAdds) => new(accuracy, 10, multiplyAdds, 0, "");
}
