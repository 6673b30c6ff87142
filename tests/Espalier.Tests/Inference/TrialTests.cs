using System.Diagnostics;
using Espalier.Inference;

namespace Espalier.Tests.Inference;

/// <summary>Which of two ways is taken, by times that are made up.</summary>
public sealed class TrialTests
{
    /// <summary>As many calls as the runtime needs to compile everything as it stays.</summary>
    private const int Begin = 200;

    private static readonly double Millisecond = Stopwatch.Frequency / 1000.0;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void TheFasterWayIsTakenAndTheOtherOneSeldomTried(bool first)
    {
        var trial = new Trial(first);
        Calls(trial, Begin, way => way ? 10 : 20);
        Assert.InRange(Calls(trial, 10_000, way => way ? 10 : 20), 9_900, 10_000);
    }

    /// <summary>Trying costs little: the slower the other way, the less often it is done.</summary>
    [Theory]
    [InlineData(1.1)]
    [InlineData(2)]
    [InlineData(8)]
    public void TryingCostsLessThanAHundredth(double slower)
    {
        var trial = new Trial(true);
        Calls(trial, Begin, Time);
        double others = 20_000 - Calls(trial, 20_000, Time);
        Assert.InRange(others, 2, 200 / (slower - 1));

        double Time(bool way) => way ? 5 : 5 * slower;
    }

    /// <summary>While others compute, two threads wait for one another.</summary>
    [Fact]
    public void ABusyBeginningDoesNotDecideForGood()
    {
        var trial = new Trial(true);
        Calls(trial, Begin, way => way ? 30 : 20);
        Assert.False(trial.Way);
        Calls(trial, 2_000, way => way ? 10 : 20);
        Assert.InRange(Calls(trial, 2_000, way => way ? 10 : 20), 1_950, 2_000);
    }

    [Fact]
    public void DisturbedCallsDoNotCount()
    {
        var trial = new Trial(true);
        int call = 0;
        Calls(trial, Begin, Time);
        Assert.InRange(Calls(trial, 4_000, Time), 3_900, 4_000);

        // Every third call of the better way takes three times as long.
        double Time(bool way) => way ? (call++ % 3 == 0 ? 30 : 10) : 14;
    }

    /// <summary>Chance may have made the other one faster.</summary>
    [Fact]
    public void OfNearlyEqualWaysTheFirstStays()
    {
        var trial = new Trial(true);
        Calls(trial, Begin, way => way ? 10 : 9.9);
        Assert.InRange(Calls(trial, 4_000, way => way ? 10 : 9.9), 3_800, 4_000);
    }

    [Fact]
    public void ASlowFirstCallDoesNotCount()
    {
        var trial = new Trial(true);
        int call = 0;
        Calls(trial, Begin, way => call++ < 2 ? 500 : way ? 10 : 12);
        Assert.InRange(Calls(trial, 1_000, way => way ? 10 : 12), 950, 1_000);
    }

    /// <summary>Whoever predicts some pictures with a large network waits for each call.</summary>
    [Fact]
    public void OfLongCallsOneSaysEnough()
    {
        var trial = new Trial(true);
        Assert.Equal(59, Calls(trial, 60, way => way ? 25 : 45));
    }

    /// <summary>The number of calls that went the first way.</summary>
    private static int Calls(Trial trial, int count, Func<bool, double> milliseconds)
    {
        int first = 0;
        for (int i = 0; i < count; i++)
        {
            bool way = trial.Way;
            if (way) first++;
            trial.Note(milliseconds(way) * 4 * Millisecond, images: 4);
        }
        return first;
    }
}
