namespace Espalier.Peers.Tests;

public sealed class BuildComparisonTests
{
    private static readonly Build Old = new("old", "program", null, "0123456789"),
        New = Old with { Name = "new", Commit = "9876543210" };
    private static readonly BenchSettings Settings =
        new("work", "scripts", Rounds: 3, WarmUps: 1, WindowSeconds: 0.4, Threads: 2, false);

    [Fact]
    public void Ratios_are_taken_within_rounds_and_of_the_best_windows()
    {
        // The machine becomes half as fast for the second run: neither ratio minds.
        BuildRow row = Row(1.02, [[1, 1.1], [1.1, 1.1], [1.2, 1.2]], [[2, 2.1], [2.2, 2.2], [2.4, 2.52]]);
        Assert.Equal(1.025, row.Median, 6);
        Assert.Equal(1.1, row.Best, 6);
        Assert.Equal("| net | 1600.00 ms | 1650.00 ms | 1.025 | 1.000, 1.050 | 1.100 | slower |",
            (row with { Format = s => FormattableString.Invariant($"{1000 * s:0.00} ms") }).Line);
    }

    [Theory]
    [InlineData(1.03, 1.03, true)]
    [InlineData(1.03, 1.00, false)]     // only the median: a disturbed run
    [InlineData(1.00, 1.03, false)]     // only the best window: one lucky one of the old build
    [InlineData(1.019, 1.019, false)]
    [InlineData(0.50, 0.50, false)]
    public void A_row_is_slower_only_by_median_and_best_windows(double median, double best, bool slower) =>
        Assert.Equal(slower, Row(1.02, [[1, best], [1.5, 1.5 * median], [1.5, 1.5 * median]]).IsSlower);

    [Fact]
    public void The_last_line_counts_the_rows_that_are_slower()
    {
        BuildRow equal = Row(1.02, [[1, 1], [2, 2]]), slower = Row(1.02, [[1, 1.1], [2, 2.2]]),
            failed = equal with { Problem = "no file" };
        string[] lines = BuildComparison.Report([equal, slower, failed], Old, New, Settings, 1, others: 0.004).Split('\n');
        Assert.Contains("old: 0123456789, new: 9876543210; 1 runs of 3 rounds, windows of 0.4 s", lines[1]);
        Assert.Equal("- other programs had 0.4 % of the processors", lines[2]);
        Assert.Contains("| net | | | | | | not measured: no file |", lines);
        Assert.Equal("1 of 2 rows are more than 2 % slower (memory and start-up: 3 % more) in both median and best windows; "
            + "1 could not be measured.", lines[^1]);
        Assert.EndsWith("windows.", BuildComparison.Report([equal], Old, New, Settings, 1, 0));
    }

    [Fact]
    public void A_disturbed_machine_is_named() =>
        Assert.Contains("- other programs had 40.0 % of the processors: too much for these figures to decide anything\n",
            BuildComparison.Report([Row(1.02, [[1, 1]])], Old, New, Settings, 1, others: 0.4));

    [Fact]
    public void Processors_are_busy_where_they_neither_idle_nor_wait() =>
        Assert.Equal((1 + 2 + 4 + 32 + 64 + 128, 255), CpuClock.Ticks("cpu  1 2 4 8 16 32 64 128 256 512"));

    [Fact]
    public void Rows_have_names_of_their_own() =>
        Assert.Distinct(BuildTrial.All().Select(trial => (trial.Section, trial.Name)));

    [Fact]
    public void A_folder_without_a_build_is_refused()
    {
        string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;
        Assert.Contains("old-build.sh", Assert.Throws<EspalierException>(() => Build.Old(folder)).Message);
        Directory.Delete(folder);
    }

    private static BuildRow Row(double bar, params double[][][] runs) =>
        new("section", "net", Units.Milliseconds, bar, runs, null);
}
