using Espalier.Compression;

namespace Espalier.Reproduce.Tests;

public sealed class FilterReproductionTests
{
    public static TheoryData<string> Ids => [.. FilterMethod.All.Select(m => m.Id)];

    /// <summary>A fair table: one target, one number of steps, and settings that the methods know.</summary>
    [Theory]
    [MemberData(nameof(Ids))]
    public void Every_method_has_the_same_steps_and_target(string id)
    {
        FilterMethod method = FilterMethod.All.Single(m => m.Id == id);
        CompressionMethod options = method.Options(301, 0.4, 7);
        Assert.Equal(301, options.TrainSteps + options.FineTuneSteps);
        Assert.Equal(0.4, options.Selection.TargetFlops);
        Assert.Equal(7ul, options.Seed);
        Assert.Equal(method.Method, options.Name);
        Assert.All(method.Settings, s => Assert.Equal(s.Value, options.Settings.Single(o => o.Name == s.Key).Of(options)));
    }

    [Fact]
    public void The_table_has_means_deviations_and_ratios()
    {
        FilterResult whole = new("whole", [new(0.8, 1000, 2e6, 10, "a"), new(0.9, 1000, 2e6, 10, "a")], null, 2);
        FilterResult half = new("half", [new(0.7, 500, 1e6, 10, "b"), new(0.7, 300, 1e6, 10, "c")],
            [new(0.6, 500, 1e6, 10, "b"), new(0.7, 300, 1e6, 10, "c")], 0.5);
        string[] lines = FilterResults.Table([whole, half]).Trim().Split('\n');
        Assert.Equal("| whole | 85.00 ± 7.07 | 80.00, 90.00 |  | 1.0 k (100.0 %) | 2.00 M (100.0 %) | 2.000 | 1.00 x |", lines[^2].Trim());
        Assert.Equal("| half | 70.00 ± 0.00 | 70.00, 70.00 | 65.00 ± 7.07 | 0.4 k (40.0 %) | 1.00 M (50.0 %) | 0.500 | 4.00 x |", lines[^1].Trim());
    }
}
