using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Espalier.Training;

namespace Espalier.Reproduce.Tests;

public sealed partial class RunHoursTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData("Processor time of the runs: 2.0 hours.", 3600.0, 3600.0)]
    [InlineData("Processor time of the runs: 3 minutes; of 2 of them it is not kept.", 100.0, null, 80.0, null)]
    [InlineData("Processor time of the runs: 7 seconds.", 7.1)]
    [InlineData("How long the runs took is not kept.", null, null)]
    [InlineData("")]
    public void What_is_kept_of_runs_is_summed_and_what_is_not_is_said(string said, params object?[] seconds) =>
        Assert.Equal(said, RunHours.Sentence([.. seconds.Select(s => (double?)s)]));

    [Fact]
    public void A_run_of_several_processes_has_the_time_of_all()
    {
        var run = new RunFolder(folder, "a");
        Assert.Null(RunHours.Of(folder, "a"));
        Assert.False(new RunHours().Train(run, 20, Spin));
        double first = RunHours.Of(folder, "a")!.Value;
        Assert.True(first > 0);
        File.WriteAllText(run.State, "");
        new RunHours().Train(run, 20, Spin);
        double both = RunHours.Of(folder, "a")!.Value;
        Assert.True(both > first);

        // At its end nothing is done, and so nothing is added.
        File.WriteAllText(run.Model, "");
        File.WriteAllText(run.History, "{\"step\":20,\"loss\":1}\n");
        new RunHours().Train(run, 20, Spin);
        Assert.Equal(both, RunHours.Of(folder, "a"));
    }

    /// <summary>A part of its time would look like all of it.</summary>
    [Fact]
    public void A_run_that_began_before_this_was_kept_has_none()
    {
        var run = new RunFolder(folder, "a");
        File.WriteAllText(run.State, "");
        new RunHours().Train(run, 20, Spin);
        Assert.Null(RunHours.Of(folder, "a"));
    }

    [Fact]
    public void Measuring_is_what_is_no_work()
    {
        long began = Stopwatch.GetTimestamp();
        var hours = new RunHours();
        TimeSpan worked = default;
        Assert.True(hours.Work(() =>
        {
            long start = Stopwatch.GetTimestamp();
            Thread.Sleep(1200);
            worked = Stopwatch.GetElapsedTime(start);
            return true;
        }));
        double said = Seconds(hours.Measuring());
        // However slow the machine is, no more than what passed without the work; what is said is rounded.
        Assert.InRange(said, 0, (1.5 * (Stopwatch.GetElapsedTime(began) - worked).TotalSeconds) + 0.5);
        Thread.Sleep(600);
        Assert.True(Seconds(hours.Measuring()) >= 1);
    }

    private static double Seconds(string sentence)
    {
        Match said = Measured().Match(sentence);
        Assert.True(said.Success, sentence);
        return double.Parse(said.Groups["number"].Value, CultureInfo.InvariantCulture)
            * (said.Groups["unit"].Value switch { "hours" => 3600, "minutes" => 60, _ => 1 });
    }

    [GeneratedRegex(@"^Measuring for this page took (?<number>\d+(\.\d)?) (?<unit>hours|minutes|seconds)\.$")]
    private static partial Regex Measured();

    /// <summary>Uses the processor for longer than is rounded away.</summary>
    private static bool Spin()
    {
        TimeSpan until = Environment.CpuUsage.TotalTime + TimeSpan.FromSeconds(0.2);
        while (Environment.CpuUsage.TotalTime < until) Thread.SpinWait(1000);
        return false;
    }
}
