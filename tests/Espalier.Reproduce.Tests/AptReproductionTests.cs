using Espalier.Cli;
using Espalier.Cli.Running;
using Espalier.Compression.Apt;

namespace Espalier.Reproduce.Tests;

public sealed class AptReproductionTests
{
    private static readonly AptReproduction Runs =
        new(new CommandContext(new Terminal(TextWriter.Null, TextWriter.Null, false, 120), default), "files", "images", 70, 32);

    /// <summary>A fair table: the methods differ in nothing else, and nothing is chosen by images that are measured on.</summary>
    [Fact]
    public void Methods_differ_only_in_what_is_compared()
    {
        TrainPlan[] plans = [.. AptReproduction.Methods.Select(m => Runs.Plan(m.Id, 3))];
        Assert.Null(plans[0].Apt);
        Assert.Equal([0.45f, 0.28f, null], plans[1..].Select(p => p.Apt!.TargetFlops));
        Assert.Equal(AptOptions.Faithful, plans[3].Apt);
        foreach (TrainPlan plan in plans)
        {
            bool groups = plan.Apt is { PlainLoss: > 0 };
            Assert.Equal(plans[0].Options with { Name = plan.Options.Name, ClipGroups = groups }, plan.Options);
            Assert.Equal(("fashion-mnist", "images", "vit-small-28", 0), (plan.Data, plan.DataDir, plan.ModelType, plan.HoldOut));
            Assert.Equal((70L, 32, 3UL, "files"), (plan.Options.Steps, plan.Options.BatchSize, plan.Options.Seed,
                plan.Options.OutputDir));
            // The model's usual rate is 0; only the original code has another one by itself, for its rewards.
            Assert.True(plan.Dropout == 0 || plan.Apt is not { RewardDropout: true });
        }
    }
}
