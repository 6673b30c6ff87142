using Espalier.Compression;

namespace Espalier.Tests.Compression.RePr;

public sealed class ReprScheduleTests
{
    [Theory]
    [InlineData(150, 0, true, "20 50 80 110 140", "30 60 90 120")]
    [InlineData(150, 0, false, "20 50 80 110", "30 60 90 120")]
    [InlineData(100, 0, false, "20 50 80", "30 60 90")]
    [InlineData(100, 0, true, "20 50 80", "30 60")]
    [InlineData(150, 3, false, "20 50 80", "30 60 90")]
    [InlineData(150, 1, true, "20", "")]
    [InlineData(30, 0, false, "", "")]
    [InlineData(30, 0, true, "20", "")]
    [InlineData(20, 0, true, "", "")]
    public void DropsAndRestoresInTurn(long steps, int cycles, bool endThin, string drops, string restores)
    {
        var schedule = new ReprSchedule(steps, first: 20, thin: 10, cycles, endThin);
        Assert.Equal(drops, string.Join(" ", schedule.Drops));
        Assert.Equal(restores, string.Join(" ", schedule.Restores));
    }
}
