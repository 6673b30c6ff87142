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
    public void The_verdict_names_what_missed_its_aim_and_what_convolutions_gave()
    {
        Baseline Of(string name, double accuracy) => new(name, null!, Found(accuracy), 1, 1, 1, null, []);
        Assert.Equal("They were to reach 93.5, 90, 90 %: all do but `vit-small-28`. `vit-conv-28` has the blocks of `vit-small-28` behind "
            + "three convolutions, attention that begins as trained ones are, and mirror images: +4.50 points.",
            BaselineReproduction.Verdict([Of("resnet20", 0.94), Of("vit-small-28", 0.88), Of("vit-conv-28", 0.925)]));
        Assert.Equal("They were to reach 92.5 %: all do.", BaselineReproduction.Verdict([Of("vgg16-quarter", 0.93)]));
    }

    /// <summary>A picture of all curves stays where only some are known now.</summary>
    [Fact]
    public void A_picture_is_not_replaced_by_half_of_it()
    {
        string page = Path.Combine(folder, "results.md"), picture = Plot.PathOf(page, "baselines.svg");
        Baseline Of(string name, params (double, double)[] curve) => new(name, null!, Found(0.9), 1, 2, 1, null, curve);
        Baseline known = Of("resnet20", (1, 0.85), (2, 0.9)), unknown = Of("vit-conv-28");
        Assert.False(BaselineReproduction.SavePicture([unknown], page));
        Assert.True(BaselineReproduction.SavePicture([known, unknown], page));
        string first = File.ReadAllText(picture);
        Assert.Contains("resnet20", first);
        Assert.True(BaselineReproduction.SavePicture([Of("vgg16-quarter", (1, 0.9)), unknown], page));
        Assert.Equal(first, File.ReadAllText(picture));
        Assert.True(BaselineReproduction.SavePicture([Of("vgg16-quarter", (1, 0.9))], page));
        Assert.NotEqual(first, File.ReadAllText(picture));
    }

    private static Evaluation.ModelEvaluation Found(double accuracy) => new(1, accuracy, 0, [], 1, 1);

    [Fact]
    public void A_curve_is_what_evaluations_found()
    {
        string history = Path.Combine(folder, "a.history.jsonl");
        File.WriteAllLines(history,
            ["""{"step":10,"loss":2}""", """{"step":20,"eval/accuracy":0.5}""", """{"step":40,"eval/accuracy":0.75}"""]);
        Assert.Equal([(1, 0.5), (2, 0.75)], BaselineReproduction.Curve(history, 0.05));
    }
}
