using Espalier.Cli;
using Espalier.Cli.Running;
using Espalier.Evaluation;

namespace Espalier.Reproduce.Tests;

public sealed class AptReproductionTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    private AptReproduction Runs => new(new CommandContext(new Terminal(TextWriter.Null, TextWriter.Null, false, 120), default),
        folder, "images", 70, AptReproduction.All([0.85, 0.5]));

    public void Dispose() => Directory.Delete(folder, recursive: true);

    /// <summary>A fair table: the lines differ in nothing else, and nothing is chosen by images that are measured on.</summary>
    [Fact]
    public void Lines_differ_only_in_what_is_compared()
    {
        using (Model start = Model.Create("vit-small-28", classes: 10, imageSize: 28)) start.Save(Path.Combine(folder, "start-3.safetensors"));
        TrainPlan[] plans = [.. Runs.Lines.Select(l => Runs.Plan(Runs.Command(l, 3)))];
        Assert.Equal(["plain", "apt-0.85", "apt-0.5", "control", "longer"], Runs.Lines.Select(l => l.Id));
        Assert.Equal([false, true, true, true, false], plans.Select(p => p.Method is not null));
        Assert.Equal(["0.85", "0.5", "none"], plans[1..4].Select(p => Setting(p, "budget")));
        Assert.Equal([70L, 70, 70, 70, 175], plans.Select(p => p.Options.Steps));
        foreach (TrainPlan plan in plans)
        {
            Assert.Equal(plans[0].Options with
            {
                Name = plan.Options.Name, ClipGroups = plan.Method is not null, Steps = plan.Options.Steps,
            }, plan.Options);
            Assert.Equal(("fashion-mnist", "images", Path.Combine(folder, "start-3.safetensors"), 0),
                (plan.Data, plan.DataDir, plan.Init, plan.HoldOut));
            Assert.Equal((64, 3UL, folder, plans[0].Recipe.LabelSmoothing),
                (plan.Options.BatchSize, plan.Options.Seed, plan.Options.OutputDir, plan.Recipe.LabelSmoothing));
            if (plan.Method is not null) Assert.Equal(("1", "0.5"), (Setting(plan, "plain-loss"), Setting(plan, "self-distill")));
        }
    }

    /// <summary>Each seed has a transformer of its own to begin with, trained as its recipe says.</summary>
    [Fact]
    public void A_seed_begins_with_the_recipe()
    {
        TrainPlan start = Runs.Plan(AptReproduction.StartCommand(3)), recipe = BaselineReproduction.Plan("vit-small-28", folder, "images");
        Assert.Equal(recipe.Options with { Name = "start-3", Seed = 3, EvalEvery = 0, EvalBatchSize = 100 }, start.Options);
        Assert.Equal((recipe.Epochs, recipe.ModelType, recipe.Augmentation), (start.Epochs, start.ModelType, start.Augmentation));
    }

    [Fact]
    public void Lines_are_chosen_by_their_ids()
    {
        IReadOnlyList<AptLine> all = AptReproduction.All([0.5]);
        Assert.Equal(["plain", "control"], AptReproduction.Of(all, "control").Select(l => l.Id));
        var e = Assert.Throws<EspalierException>(() => AptReproduction.Of(all, "apt-0.3"));
        Assert.Contains("there is no 'apt-0.3'; there are plain, apt-0.5, control, longer", e.Message);
    }

    /// <summary>Each line of the ablation has all of the whole method's settings but the one that it is named after.</summary>
    [Fact]
    public void An_ablation_changes_one_thing_a_line()
    {
        using (Model start = Model.Create("vit-small-28", classes: 10, imageSize: 28)) start.Save(Path.Combine(folder, "start-3.safetensors"));
        IReadOnlyList<AptLine> lines = AptReproduction.Ablation([0.5]);
        var plans = lines.ToDictionary(l => l.Id, l => Runs.Plan(Runs.Command(l, 3)));
        string[] others = [.. AptReproduction.All([0.5]).Select(l => l.Id)];
        Assert.Equal(others, lines.Take(others.Length).Select(l => l.Id));
        TrainPlan whole = plans["apt-0.5"];
        foreach (string id in plans.Keys.Except(others))
        {
            string[] changed = [.. whole.Method!.Settings.Where(s => s.Of(plans[id].Method!) != s.Of(whole.Method)).Select(s => s.Name)];
            bool clip = plans[id].Options.ClipGroups != whole.Options.ClipGroups, only = plans[id].Options.TrainOnly.Count > 0;
            Assert.Equal(1, changed.Length + (clip ? 1 : 0) + (only ? 1 : 0));
            Assert.Equal(whole.Options, plans[id].Options with
            {
                Name = whole.Options.Name, ClipGroups = whole.Options.ClipGroups, TrainOnly = whole.Options.TrainOnly,
            });
        }
    }

    /// <summary>Differences 1, 2 and 3 points: mean 2, deviation 1, and 4.303 / sqrt(3) times it.</summary>
    [Fact]
    public void Differences_are_taken_seed_by_seed()
    {
        Paired found = Paired.Of([0.81, 0.62, 0.93], [0.80, 0.60, 0.90]);
        Assert.Equal(0.02, found.Mean, 9);
        Assert.Equal(0.01 * 4.303 / Math.Sqrt(3), found.Half, 9);
        Assert.Equal("+2.00 ± 2.48", found.ToString());
        Assert.Equal("-1.00", Paired.Of([0.5], [0.51]).ToString());

        AptResult Row(string name, params double[] accuracies) => new(name, [.. accuracies.Select(Of)], 1);
        string said = AptResults.Verdict([Row("plain", 0.80, 0.70), Row("better", 0.82, 0.7202), Row("worse", 0.78, 0.6802),
            Row("unsure", 0.85, 0.69)]);
        Assert.Contains("with 95 % confidence: better (+2.01 ± 0.13). Worse: worse", said);
        Assert.Contains("Not told apart: unsure", said);
    }

    private static ModelEvaluation Of(double accuracy) => new(100, accuracy, 0, [50], 1e6, 1);

    private static string Setting(TrainPlan plan, string name) => plan.Method!.Settings.Single(s => s.Name == name).Of(plan.Method);
}
