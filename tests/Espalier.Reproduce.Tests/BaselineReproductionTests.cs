using Espalier.Cli.Running;

namespace Espalier.Reproduce.Tests;

public sealed class BaselineReproductionTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    public static TheoryData<string> Names => [.. BaselineReproduction.Names];

    /// <summary>No test image has a say: the last weights count, and all training images are learnt from.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void Every_recipe_is_a_plain_training_on_all_images(string name)
    {
        TrainPlan plan = BaselineReproduction.Plan(name, folder, "images");
        Assert.Null(plan.Method);
        Assert.Equal(("fashion-mnist", "images", 0d), (plan.Data, plan.DataDir, plan.HoldOut));
        Assert.True(plan.Epochs > 1);
        Assert.Equal((name, folder, true), (plan.Options.Name, plan.Options.OutputDir, plan.Options.Resume));
    }

    [Fact]
    public void A_curve_is_what_evaluations_found()
    {
        string history = Path.Combine(folder, "a.history.jsonl");
        File.WriteAllLines(history,
            ["""{"step":10,"loss":2}""", """{"step":20,"eval/accuracy":0.5}""", """{"step":40,"eval/accuracy":0.75}"""]);
        Assert.Equal([(1, 0.5), (2, 0.75)], BaselineReproduction.Curve(history, 0.05));
    }
}
