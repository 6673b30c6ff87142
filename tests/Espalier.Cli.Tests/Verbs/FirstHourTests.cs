using System.Diagnostics;
using System.Text.Json;
using Espalier.Cli.Running;
using Espalier.Data;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>The first commands of somebody with a folder of photos: defaults that follow it, and nothing lost.</summary>
public sealed class FirstHourTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>Photos of some classes, those of a class striped alike.</summary>
    private string Photos(int classes = 3, int each = 10)
    {
        string root = folder.File("photos");
        for (int c = 0; c < classes; c++)
        {
            Directory.CreateDirectory(Path.Combine(root, $"class-{c}"));
            for (int i = 0; i < each; i++)
            {
                var image = new Image(40, 36, 3);
                for (int p = 0; p < image.Pixels.Length; p++) image.Pixels[p] = (byte)(p / 3 % 40 % (c + 2) * 90 + i + 7 * (p % 3));
                PngWriter.Write(Path.Combine(root, $"class-{c}", $"{i}.png"), image);
            }
        }
        return root;
    }

    private string[] Train(string photos, params string[] more) =>
        ["train", "--data", photos, "--output-dir", folder.Path, "--img-size", "16", "--threads", "1", .. more];

    [Fact]
    public void A_folder_is_enough_to_train_on_and_a_run_is_not_overwritten()
    {
        string photos = Photos();
        Outcome first = Tool.Run(Train(photos, "--epochs", "2")).MustSucceed();
        Assert.Contains("model       resnet20", first.Out);
        Assert.Contains("run         2 steps of 24 images, 2 passes", first.Out);
        byte[] model = File.ReadAllBytes(folder.File("cnn.safetensors"));

        string refused = Tool.Run(Train(photos, "--epochs", "2")).MustFail(2);
        Assert.Contains("--resume goes on with it, --overwrite begins again", refused);
        Assert.Equal(model, File.ReadAllBytes(folder.File("cnn.safetensors")));
        Tool.Run(Train(photos, "--epochs", "2", "--seed", "1", "--overwrite")).MustSucceed();
        Assert.NotEqual(model, File.ReadAllBytes(folder.File("cnn.safetensors")));

        Assert.Contains("run         30 steps of 24 images", Tool.Run(Train(photos, "--name", "usual", "--width", "0.25")).MustSucceed().Out);
        Assert.Contains("agents after", Tool.Run(Train(photos, "--epochs", "1", "--target-flops", "0.5")).MustSucceed().Out);
    }

    [Fact]
    public void A_run_goes_on_with_the_options_that_it_began_with()
    {
        string photos = Photos();
        string[] run = Train(photos, "--num-steps", "6", "--train-batch-size", "4", "--learning-rate", "0.01", "--name", "mine");
        Tool.Run([.. run.Select(a => a == "mine" ? "whole" : a)]).MustSucceed();
        using var cancel = new CancellationTokenSource();
        Assert.Equal(130, Tool.Run(new CancellingWriter("step 1 of", cancel), cancel.Token, run).Code);

        Outcome several = Tool.Run("train", "--resume", "--output-dir", folder.Path);
        Assert.Contains("the states of 2 runs (mine, whole)", several.MustFail(2));
        Outcome resumed = Tool.Run("train", "--resume", "--name", "mine", "--output-dir", folder.Path).MustSucceed();
        Assert.Contains("Resuming mine after step", resumed.Out);
        Assert.Equal(File.ReadAllBytes(folder.File("whole.safetensors")), File.ReadAllBytes(folder.File("mine.safetensors")));
        Assert.Contains("--learning-rate was 0.01", Tool.Run("train", "--resume", "--name", "mine", "--output-dir", folder.Path,
            "--learning-rate", "0.02").MustFail(2));
    }

    [Fact]
    public void A_new_head_learns_alone_while_the_backbone_is_frozen()
    {
        string photos = Photos(), whole = folder.File("whole.safetensors");
        using (Model net = Model.Create("resnet20", 7, 3, 16, width: 0.25)) net.Save(whole);
        string[] run = Train(photos, "--pretrained", whole, "--train-batch-size", "8", "--no-augment", "--freeze", "1");
        run = [.. run.Where(a => a is not ("--img-size" or "16"))];
        Outcome frozen = Tool.Run([.. run, "--epochs", "1", "--name", "frozen"]).MustSucceed();
        Assert.Contains("the first 3 steps of the head alone", frozen.Out);
        Checkpoint before = CheckpointFile.Read(whole), after = CheckpointFile.Read(folder.File("frozen.safetensors"));
        foreach (NamedArray array in before.Arrays.Values.Where(a => a.Name != "linear.weight" && a.Name != "linear.bias"))
            Assert.True(array.Data.SequenceEqual(after[array.Name].Data), array.Name);
        Tool.Run([.. run, "--epochs", "2", "--name", "thawed"]).MustSucceed();
        Checkpoint thawed = CheckpointFile.Read(folder.File("thawed.safetensors"));
        Assert.Contains(before.Arrays.Values, a => a.Data.Length == thawed[a.Name].Data.Length
            && !a.Data.SequenceEqual(thawed[a.Name].Data));
    }

    [Fact]
    public void An_evaluation_that_fails_costs_nothing()
    {
        string photos = Photos(), bad = Path.Combine(photos, "class-2", "9.png");
        File.WriteAllBytes(bad, File.ReadAllBytes(bad)[..60]);
        Outcome failed = Tool.Run(Train(photos, "--epochs", "2", "--strict"));
        Assert.Equal(2, failed.Code);
        Assert.Contains(bad, failed.Error);
        Assert.True(File.Exists(folder.File("cnn.state")));
        Assert.True(File.Exists(folder.File("cnn.safetensors")));
    }

    [Fact]
    public void What_a_model_takes_for_what_is_told()
    {
        string photos = Photos(classes: 7, each: 5);
        Tool.Run(Train(photos, "--epochs", "1", "--width", "0.25")).MustSucceed();
        Outcome infer = Tool.Run("infer", "--model", folder.File("cnn.safetensors"), "--data", photos, "--per-class", "--confusion",
            folder.File("made/matrix.csv"), "--output", folder.File("lines.jsonl"));
        Assert.Contains("in top 5", infer.MustSucceed().Out);
        Assert.Contains("mostly taken for", infer.Out);
        string[][] rows = [.. File.ReadLines(folder.File("made/matrix.csv")).Select(l => l.Split(','))];
        Assert.Equal(["class", .. Enumerable.Range(0, 7).Select(c => $"class-{c}")], rows[0]);
        Assert.Equal(8, rows.Length);
        Assert.All(rows[1..], row => Assert.Equal(1, row[1..].Sum(int.Parse)));
        JsonElement[] lines = [.. File.ReadLines(folder.File("lines.jsonl")).Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.Equal([.. Enumerable.Range(0, 7).Select(c => Path.Combine(photos, $"class-{c}", "4.png"))],
            lines.Select(l => l.GetProperty("file").GetString()));
        Assert.All(lines, l => Assert.Equal(1, rows[1 + l.GetProperty("label").GetInt32()][1 + l.GetProperty("prediction").GetInt32()]
            is "1" ? 1 : 0));
    }

    [Theory]
    [InlineData("l1")]
    [InlineData("fpgm")]
    [InlineData("bn-scale")]
    public void Weights_alone_need_no_data_set(string method)
    {
        string whole = folder.File("whole.safetensors"), small = folder.File("small.safetensors");
        using (Model net = Model.Create("resnet20", 7, 3, 16, width: 0.25)) net.Save(whole);
        Outcome done = Tool.Run("compress", method, "--model", whole, "--ratio", "0.5", "--output", small).MustSucceed();
        Assert.Contains("on noise", done.Out);
        using Model after = Model.Open(small);
        Assert.True(after.ParameterCount > 0);
        Assert.Contains("stays", Tool.Run("compress", method, "--model", whole, "--ratio", "0.5", "--plan").MustSucceed().Out);
        Assert.Contains("--data NAME", Tool.Run("compress", "taylor", "--model", whole, "--ratio", "0.5", "--output", small).MustFail(2));
    }

    /// <summary>What was trained or cut is never thrown away, nor put in the place of what is there.</summary>
    [Fact]
    public async Task Without_an_output_a_name_is_chosen()
    {
        using (Model net = Model.Create("resnet20", 7, 3, 16, width: 0.25)) net.Save(folder.File("whole.safetensors"));
        for (int i = 1; i <= 2; i++)
        {
            using Process compress = Tool.StartIn(folder.Path, "compress", "l1", "--model", "whole.safetensors", "--ratio", "0.5");
            Task<string> error = compress.StandardError.ReadToEndAsync();
            string output = await compress.StandardOutput.ReadToEndAsync();
            await compress.WaitForExitAsync();
            Assert.True(compress.ExitCode == 0, await error);
            string[] files = Directory.GetFiles(folder.File("output"), "*-l1*.safetensors");
            Assert.Equal(i, files.Length);
            Assert.Contains(files, f => output.Contains($"goes to {Path.GetRelativePath(folder.Path, f)}", StringComparison.Ordinal));
            foreach (string file in files) Model.Open(file).Dispose();
        }
    }

    /// <summary>Names of both sides, and the preset that the file's names are those of.</summary>
    [Fact]
    public void A_file_of_another_network_says_which()
    {
        string file = folder.File("mobile.safetensors");
        using (Model net = Model.Create("mobilenet_v2", 7))
            Safetensors.Write(file, net.Graph.Weights.Select(w => new NamedArray(w.Key, w.Value.Tensor.Shape.ToArray(), w.Value.Tensor.ToArray())));
        string error = Tool.Run("profile", "--model", file, "--model-type", "resnet18").MustFail(2);
        foreach (string part in new[] { "no tensor has a name of resnet18", "features.0.0.weight", "conv1.weight", "mobilenet_v2" })
            Assert.Contains(part, error);
    }

    [Fact]
    public void A_published_file_without_a_name_gets_one_suggested()
    {
        string file = folder.File("mobile.safetensors");
        using (Model net = Model.Create("mobilenet_v2", 7))
            Safetensors.Write(file, net.Graph.Weights.Select(w => new NamedArray(w.Key, w.Value.Tensor.Shape.ToArray(), w.Value.Tensor.ToArray())));
        Assert.Contains("--model-type (its tensors are those of mobilenet_v2)", Tool.Run("profile", "--model", file).MustFail(2));
    }

    [Fact]
    public void The_names_of_others_stand_for_the_same_networks()
    {
        Assert.Contains("mobilenet_v2 x 0.1, images of 32 pixels",
            Tool.Run("profile", "--model-type", "mobilenetv2_100", "--width", "0.1", "--img-size", "32").MustSucceed().Out);
        Assert.Contains("regnet_y_400mf", Tool.Run(Train(Photos(), "--model-type", "RegNetY_004", "--width", "0.1",
            "--num-steps", "1")).MustSucceed().Out);
        Assert.Contains("do you mean 'vit_base_patch16_224'?", Tool.Run("profile", "--model-type", "vit_base_patch16_22").MustFail(2));
    }

    [Fact]
    public void Classes_get_the_names_of_a_list()
    {
        string net = folder.File("net.safetensors"), photo = Path.Combine(Photos(), "class-0", "0.png"), list = folder.File("names.txt");
        using (Model model = Model.Create("resnet20", 3, 3, 16, width: 0.25)) model.Save(net);
        File.WriteAllText(list, "tench\ngoldfish\r\ngreat white shark\n");
        string said = Tool.Run("predict", photo, "--model", net, "--classes", list).MustSucceed().Out;
        foreach (string name in new[] { "tench", "goldfish", "great white shark" }) Assert.Contains($"%  {name}\n", said);
        Assert.Contains("imagenet: has 1000 names, one a line, and the model 3 classes",
            Tool.Run("predict", photo, "--model", net, "--classes", "imagenet").MustFail(2));
        Assert.Equal(("tench", "goldfish", "toilet tissue"), (ImageNet.ClassNames[0], ImageNet.ClassNames[1], ImageNet.ClassNames[999]));
        File.AppendAllText(list, "hammerhead\n");
        Assert.Contains("has 4 names, one a line, and the model 3 classes", Tool.Run("predict", photo, "--model", net, "--classes", list).MustFail(2));
    }

    [Fact]
    public void A_report_says_how_the_run_was_trained()
    {
        Tool.Run(Train(Photos(), "--epochs", "1", "--target-flops", "0.5", "--name", "mine")).MustSucceed();
        Outcome report = Tool.Run("report", folder.Path, "--name", "mine", "--data", folder.File("photos")).MustSucceed();
        string page = File.ReadAllText(folder.File("report.html"));
        Assert.Contains("espalier train ", page);
        Assert.Contains("--target-flops=0.5", page);
        Assert.Contains("APT, unpruned\nunpruned:", page);
        string model = folder.File("mine.safetensors"), curve = folder.File("curve.html");
        using (Model opened = Model.Open(model))
        {
            opened.SetKeepRule(KeepRule.AtLeast(-0.437f));
            opened.Save(model);
        }
        Tool.Run("report", model, "--data", folder.File("photos"), "--output", curve).MustSucceed();
        Assert.Contains("threshold 0.437", File.ReadAllText(curve));
        Assert.True(report.Out.IndexOf("APT, unpruned", StringComparison.Ordinal) < report.Out.IndexOf("APT, pruned", StringComparison.Ordinal));
    }

    [Fact]
    public void Hours_of_training_are_foretold_with_what_takes_less()
    {
        var options = new TrainOptions { BatchSize = 72, Steps = 10_000 };
        string? said = TrainingEstimate.Of(17.6e9, options, agents: true);
        Assert.Matches("^about [0-9,]+ hours here; a smaller network .*--img-size", said);
        Assert.Null(TrainingEstimate.Of(41e6, options with { Steps = 100 }, agents: false));
    }

    [Fact]
    public void Networks_are_listed_and_the_command_alone_helps()
    {
        string list = Tool.Run("models").MustSucceed().Out;
        Assert.Matches(@"resnet18 +224 +11\.69 M +1\.81 G +torchvision", list);
        Assert.Matches(@"ViT-B_16 +224 +86\.57 M", list);
        Assert.Contains("vit_base_patch16_224", list);
        Assert.Contains("Examples:", Tool.Run().MustSucceed().Out);
    }
}
