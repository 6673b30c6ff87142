using Espalier.Data;
using Espalier.Imaging;

namespace Espalier.Cli.Tests.Verbs;

public sealed class OtherVerbTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void The_demo_compares_three_models_and_writes_a_report()
    {
        Outcome outcome = Tool.Run("demo", "--steps", "6", "--output-dir", folder.Path).MustSucceed();
        foreach (string row in new[] { "plain ViT", "APT, pruned", "APT, unpruned" })
            Assert.Matches($@"{row}\s+\d+\.\d\d %\s+50.*\d\.\d\d M\s+\d+\.\d %\s+[\d,.]+\s+\d+\.\d\dx", outcome.Out);
        Assert.Contains(folder.File("report.html"), outcome.Out);
        Assert.Contains("APT, unpruned", File.ReadAllText(folder.File("report.html")));
    }

    [Fact]
    public void The_demo_replaces_no_run_of_train()
    {
        File.WriteAllText(folder.File("apt.recipe.json"), "{}");
        Assert.Contains("give another --output-dir", Tool.Run("demo", "--steps", "6", "--output-dir", folder.Path).MustFail(2));
        Assert.Equal([folder.File("apt.recipe.json")], Directory.GetFiles(folder.Path));
    }

    /// <summary>What a refused command was asked must not take the place of what a run was.</summary>
    [Fact]
    public void A_refused_training_leaves_the_recipe_alone()
    {
        Tool.Run(Golden.Train(folder.Path, 2)).MustSucceed();
        string recipe = File.ReadAllText(folder.File("apt.recipe.json"));
        Assert.Contains("do not fill one batch",
            Tool.Run([.. Golden.Train(folder.Path, 2).Select(a => a == "16" ? "100000" : a), "--overwrite"]).MustFail(2));
        Assert.Equal(recipe, File.ReadAllText(folder.File("apt.recipe.json")));
        Assert.Contains("leave one of them out", Tool.Run([.. Golden.Train(folder.Path, 2), "--overwrite", "--resume"]).MustFail(2));
    }

    [Fact]
    public void A_report_is_written_of_a_run_and_of_a_checkpoint()
    {
        Tool.Run(Golden.Train(folder.Path, 2)).MustSucceed();
        Tool.Run("report", folder.Path, "--data-dir", Golden.Folder).MustSucceed();
        Assert.Contains("Training", File.ReadAllText(folder.File("report.html")));
        Tool.Run("report", folder.File("apt.safetensors"), "--data-dir", Golden.Folder, "--limit", "8", "--output",
            folder.File("other.html"))
            .MustSucceed();
        Assert.Contains("after layer 3", File.ReadAllText(folder.File("other.html")));
    }

    [Fact]
    public void An_image_file_is_classified_and_its_tokens_drawn()
    {
        string image = folder.File("boot.png");
        PngWriter.Write(image, FashionMnist.OpenSample().Test.ReadImage(0));
        Outcome outcome = Tool.Run("predict", image, image, "--model", Golden.Checkpoint, "--config", Golden.Config, "--top", "3",
            "--output-dir", folder.File("drawn")).MustSucceed();
        Assert.Equal(6, outcome.Out.Split('\n').Count(l => l.Contains(" %  class ", StringComparison.Ordinal)));
        Assert.Matches(@"tokens: 50 initial, \d+ after layer 1, \d+ after layer 3", outcome.Out);
        Image drawn = ImageFile.Read(folder.File("drawn/boot.tokens.png"));
        Assert.True(drawn.Width > 3 * 100 && drawn.Height >= 100, $"{drawn.Width} x {drawn.Height}");
        Assert.True(File.Exists(folder.File("drawn/boot-2.tokens.png")));
    }

    [Fact]
    public void Prediction_and_inference_agree()
    {
        IImageDataset test = Datasets.Open("fashion-mnist", Golden.Folder).Test;
        Tool.Run(["infer", .. Golden.Model, "--limit", "4", "--output", folder.File("out.jsonl")]).MustSucceed();
        string[] lines = File.ReadAllLines(folder.File("out.jsonl"));
        Assert.Equal(4, lines.Length);
        for (int i = 0; i < lines.Length; i++)
        {
            PngWriter.Write(folder.File("image.png"), test.ReadImage(i));
            string output =
                Tool.Run("predict", folder.File("image.png"), "--model", Golden.Checkpoint, "--config", Golden.Config, "--top",
                    "1",
                "--no-picture").MustSucceed().Out;
            int prediction = System.Text.Json.JsonDocument.Parse(lines[i]).RootElement.GetProperty("prediction").GetInt32();
            Assert.Contains($"class {prediction}\n", output.ReplaceLineEndings("\n"));
        }
    }

    [Fact]
    public void The_profile_adds_up_to_the_models_cost()
    {
        Outcome outcome =
            Tool.Run("profile", "--model", Golden.Checkpoint, "--config", Golden.Config, "--batch-size", "2",
                "--ops").MustSucceed();
        Assert.Contains("attn.query", outcome.Out);
        Assert.Matches(@"total\s+\d+\.\d\d k\s+3\.44 M", outcome.Out);
        Assert.Matches(@"moved\s+ms\s+time\s+GFLOP/s\s+of peak", outcome.Out);
        Assert.Matches(@"pruned\s+\d\.\d\d M MACs", outcome.Out);
        Assert.All(outcome.Out.Split('\n'), line => Assert.InRange(line.TrimEnd().Length, 0, 130));
    }

    [Fact]
    public void Data_are_listed_and_checked()
    {
        string list = Tool.Run("data", "list").MustSucceed().Out;
        foreach (DatasetInfo info in Datasets.All) Assert.Contains(info.Name, list);
        string check = Tool.Run("data", "check", "fashion-mnist-sample").MustSucceed().Out;
        Assert.Contains("2000 training and 1000 test images", check);
        Assert.Matches(@"Ankle boot\s+200\s+100", check);
    }
}
