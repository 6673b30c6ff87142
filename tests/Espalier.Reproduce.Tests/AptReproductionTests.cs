using Espalier.Cli;
using Espalier.Cli.Running;

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
        Assert.Null(plans[0].Method);
        Assert.Equal(["0.45", "0.28", "none"], plans[1..].Select(p => Setting(p, "budget")));
        Assert.Equal(("yes", "yes", "0"), (Setting(plans[3], "reward-dropout"), Setting(plans[3], "explore-batch-range"),
            Setting(plans[3], "plain-loss")));
        foreach (TrainPlan plan in plans)
        {
            bool groups = plan.Method is not null && Setting(plan, "plain-loss") != "0";
            Assert.Equal(plans[0].Options with { Name = plan.Options.Name, ClipGroups = groups }, plan.Options);
            Assert.Equal(("fashion-mnist", "images", "vit-small-28", 0), (plan.Data, plan.DataDir, plan.ModelType, plan.HoldOut));
            Assert.Equal((70L, 32, 3UL, "files"), (plan.Options.Steps, plan.Options.BatchSize, plan.Options.Seed,
                plan.Options.OutputDir));
            // The model's usual rate is 0; only the original code has another one by itself, for its rewards.
            Assert.True(plan.Dropout == 0 || plan.Method is null || Setting(plan, "reward-dropout") == "no");
        }
    }
    private static string Setting(TrainPlan plan, string name) =>
        plan.Method!.Settings.Single(s => s.Name == name).Of(plan.Method);
}
