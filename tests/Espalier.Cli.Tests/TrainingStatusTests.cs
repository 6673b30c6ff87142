using Espalier.Cli.Display;
using Espalier.Training;

namespace Espalier.Cli.Tests;

public sealed class TrainingStatusTests
{
    private static StepInfo Step(long step, double seconds) =>
        new(step, 10, 0, 0.1, null, new Dictionary<string, double>(), 16, TimeSpan.FromSeconds(seconds));

    [Fact]
    public void TheFirstStepCountsOnlyUntilThereIsAnother()
    {
        var status = new TrainingStatus();
        status.Add(Step(1, 8));
        Assert.Equal("2.0 images/s, 01:12 left", status.ToString());
        status.Add(Step(2, 4));
        Assert.Equal("4.0 images/s, 00:32 left", status.ToString());
    }

    [Fact]
    public void TheRateFollowsRecentSteps()
    {
        var status = new TrainingStatus();
        for (int i = 1; i <= 3; i++) status.Add(Step(i, i == 2 ? 4 : 2));
        // (0.95 x 4 + 2) / 1.95 = 2.974 seconds a step.
        Assert.Equal("5.4 images/s, 00:20 left", status.ToString());
        for (int i = 4; i <= 10; i++) status.Add(Step(i, 2));
        Assert.StartsWith("7.", status.ToString(), StringComparison.Ordinal);
    }
}
