using Espalier.Optim;

namespace Espalier.Tests.Optim;

public sealed class ScheduleTests
{
    /// <summary>The fine-tuning schedule of APT: base rate 0.03, 500 of 50,000 steps warm-up.</summary>
    [Theory]
    [InlineData(1, 6e-5)]
    [InlineData(250, 0.015)]
    [InlineData(500, 0.03)]
    [InlineData(25_250, 0.015)]
    [InlineData(50_000, 0)]
    public void CosineOfApt(long step, double lr) =>
        Assert.Equal(lr, 0.03 * Schedules.Parse("cosine", 500).Multiplier(step, 50_000), 1e-12);

    [Theory]
    [InlineData(250, 0.5)]
    [InlineData(500, 1)]
    [InlineData(25_250, 0.5)]
    [InlineData(50_000, 0)]
    [InlineData(50_001, 0)]
    public void LinearOfApt(long step, double expected) =>
        Assert.Equal(expected, Schedules.Parse("linear", 500).Multiplier(step, 50_000), 1e-12);

    /// <summary>E 20, W 5, epoch e from 0: the form where epoch 0 stands still.</summary>
    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 0.2)]
    [InlineData(5, 1)]
    [InlineData(6, 0.989074)]
    [InlineData(12, 0.552264)]
    [InlineData(19, 0.010926)]
    public void CosineByEpochAsPublished(long epoch, double expected) =>
        Assert.Equal(expected, new CosineSchedule(5).Multiplier(epoch, 20), 1e-6);

    /// <summary>The same with epoch 0 trained: the warm-up one epoch earlier, the decay where it was.</summary>
    [Theory]
    [InlineData(0, 0.2)]
    [InlineData(1, 0.4)]
    [InlineData(4, 1)]
    [InlineData(5, 1)]
    [InlineData(6, 0.989074)]
    [InlineData(19, 0.010926)]
    public void CosineByEpochFixed(long epoch, double expected) =>
        Assert.Equal(expected, new CosineSchedule(5, DecayStart.AfterWarmup).Multiplier(epoch + 1, 20), 1e-6);

    [Theory]
    [InlineData(9, 1)]
    [InlineData(10, 0.1)]
    [InlineData(14, 0.1)]
    [InlineData(15, 0.01)]
    public void MultiStep(long position, double expected)
    {
        Assert.Equal(expected, Schedules.Parse("multistep", 5, [10, 15]).Multiplier(position, 20), 1e-12);
        Assert.Equal(expected, new MultiStepSchedule(5).Multiplier(position, 20), 1e-12);
        Assert.Equal(expected, new MultiStepSchedule(5, [10, 15], DecayStart.AfterWarmup).Multiplier(position + 1, 20), 1e-12);
    }

    /// <summary>Full until three quarters of what follows the warm-up, then down to 0.</summary>
    [Theory]
    [InlineData(10, 0.5)]
    [InlineData(20, 1)]
    [InlineData(95, 1)]
    [InlineData(107.5, 0.5)]
    [InlineData(120, 0)]
    [InlineData(130, 0)]
    public void FlatThenCosine(double step, double expected) =>
        Assert.Equal(expected, Schedules.Parse("flat-cosine", 40).Multiplier((long)(2 * step), 240), 1e-12);

    /// <summary>The 200 epochs of Soft Filter Pruning, of five steps each, at a full rate of 0.1.</summary>
    [Theory]
    [InlineData(0, 0.01)]
    [InlineData(1, 0.1)]
    [InlineData(59, 0.1)]
    [InlineData(60, 0.02)]
    [InlineData(119, 0.02)]
    [InlineData(120, 0.004)]
    [InlineData(159, 0.004)]
    [InlineData(160, 0.0008)]
    [InlineData(199, 0.0008)]
    public void FifthsOfSoftFilterPruning(int epoch, double lr)
    {
        ISchedule schedule = Schedules.Parse("fifths");
        for (int i = 1; i <= 5; i++) Assert.Equal(lr, 0.1 * schedule.Multiplier(5 * epoch + i, 1000), 1e-12);
    }

    [Fact]
    public void ConstantHasNoWarmup() => Assert.Equal(1, Schedules.Parse("constant", 500).Multiplier(1, 1000));

    [Theory]
    [InlineData("linear")]
    [InlineData("cosine")]
    [InlineData("multistep")]
    [InlineData("flat-cosine")]
    public void ARunNoLongerThanItsWarmupIsFinite(string name)
    {
        ISchedule schedule = Schedules.Parse(name, 10);
        for (long step = 1; step <= 10; step++) Assert.Equal(step / 10.0, schedule.Multiplier(step, 10), 1e-12);
        Assert.InRange(schedule.Multiplier(11, 10), 0, 1);
    }

    [Fact]
    public void UnknownNamesAreListed()
    {
        var e = Assert.Throws<EspalierException>(() => Schedules.Parse("cosin"));
        Assert.Contains("'cosin'", e.Message);
        Assert.Contains("constant, linear, cosine, multistep, flat-cosine, fifths", e.Message);
    }
}
