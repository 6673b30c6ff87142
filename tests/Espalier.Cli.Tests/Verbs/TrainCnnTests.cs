using System.Text.Json;
using Espalier.Cli.Running;
using Espalier.Onnx;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>`train` and `report` with convolutional networks.</summary>
public sealed class TrainCnnTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_named_network_learns_and_leaves_files_that_say_all()
    {
        Outcome outcome =
            Train(["--num-steps", "60", "--optimizer", "adamw", "--eval-limit", "200"], SmallCnn.Preset).MustSucceed();
        Assert.Contains("cifar-vgg11 x 0.125", outcome.Out);
        Assert.Contains("on the 200 test images", outcome.Out);
        Assert.True(Loss(last: true) < 0.8 * Loss(last: false), outcome.Out);
        foreach (string file in new[] { "cnn.safetensors", "cnn-best.safetensors" })
        {
            using Model net = Model.Open(folder.File(file));
            Assert.Equal("Ankle boot", net.Card.Classes![9]);
            Assert.Equal("fashion-mnist-sample", net.Card.Dataset);
            Assert.Equal((1, 16, "cifar-vgg11"), (net.Channels, net.ImageSize, net.Card.Architecture));
            Assert.Equal("plain training: 60 steps on fashion-mnist-sample", Assert.Single(net.Card.History));
        }
        // The table at the end and a run of the file are the same evaluation.
        Outcome run = Tool.Run("infer", "--model", folder.File("cnn.safetensors"), "--limit", "200").MustSucceed();
        Assert.Contains(Line(run, "accuracy"), outcome.Out);

        Tool.Run("report", folder.Path, "--limit", "50").MustSucceed();
        string page = File.ReadAllText(folder.File("report.html"));
        Assert.Contains("convolutional network", page);
        Assert.Contains("Training loss", page);
        Assert.Contains("espalier train ", page);
        Assert.Contains(CompressReport.Machine, page);
        Assert.Contains("<h2>Confusions</h2>", page);
        Assert.Contains("<h2>Right and wrong</h2>", page);
        Assert.Contains("class=\"right\"", page);
        Assert.Contains("class=\"wrong\"", page);
        Assert.DoesNotContain("token", page.Split("<main>")[1].Split("</main>")[0], StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void A_pruned_network_is_fine_tuned_distilled_and_pruned_again()
    {
        string small = SmallCnn.WritePruned(folder.File("small.safetensors")), again = folder.File("again.safetensors");
        string[] start = ["--init", small, "--num-steps", "3"];
        Train([.. start, "--name", "tuned"]).MustSucceed();
        Train([.. start, "--name", "taught", "--teacher", small + ".whole", "--distillation", "deit-soft"]).MustSucceed();
        using Model before = Model.Open(small), tuned = Model.Open(folder.File("tuned.safetensors")),
            taught = Model.Open(folder.File("taught.safetensors"));
        foreach (Model after in new[] { tuned, taught })
            foreach (var (name, old) in before.Graph.Weights) Assert.Equal(old.Shape, after.Graph.Weights[name].Shape);
        Assert.NotEqual(First(before), First(tuned));
        Assert.NotEqual(First(tuned), First(taught));
        Tool.Run("compress", "l1", "--model", small, "--ratio", "0.2", "--output", again).MustSucceed();
        using Model smaller = Model.Open(again);
        Assert.True(smaller.ParameterCount < tuned.ParameterCount);

        static float[] First(Model net) => net.Graph.Parameters.First().Value.ToArray();
    }

    [Fact]
    public void Fine_tuning_that_was_interrupted_and_resumed_ends_bit_for_bit_like_one_that_was_not()
    {
        string small = SmallCnn.WritePruned(folder.File("small.safetensors"));
        string[] arguments = ["--init", small, "--num-steps", "40", "--threads", "2"];
        Train([.. arguments, "--name", "whole"]).MustSucceed();

        using var cancel = new CancellationTokenSource();
        string[] parts = Arguments([.. arguments, "--name", "parts"]);
        Outcome stopped = Tool.Run(new CancellingWriter("step 1 of", cancel), cancel.Token, parts);
        Assert.Equal(130, stopped.Code);
        Assert.Contains("resume with: espalier train", stopped.Out);
        Assert.Contains("Resuming parts after step", Tool.Run([.. parts, "--resume"]).MustSucceed().Out);
        Assert.Equal(File.ReadAllBytes(folder.File("whole.safetensors")), File.ReadAllBytes(folder.File("parts.safetensors")));
    }

    [Fact]
    public void Only_the_named_layers_are_trained_and_a_run_goes_on_with_the_same()
    {
        string model = SmallCnn.Write(folder.File("net.safetensors"));
        string[] run = ["--init", model, "--num-steps", "2", "--name", "head", "--weight-decay", "0.1"];
        Train([.. run, "--train-only", "classifier"]).MustSucceed();
        using Model before = Model.Open(model), after = Model.Open(folder.File("head.safetensors"));
        foreach (var (name, old) in before.Graph.Weights)
            Assert.Equal(!name.StartsWith("classifier.", StringComparison.Ordinal),
                old.Tensor.ToArray().SequenceEqual(after.Graph.Weights[name].Tensor.ToArray()));
        Assert.Contains("; only classifier", Train([.. run, "--train-only", "*", "--resume"]).MustFail(2));
        Assert.Contains("'magic*' of --train-only", Train([.. run, "--train-only", "magic*", "--overwrite"]).MustFail(2));
    }

    /// <summary>Other classes, by number or by name, get a new head; another size of the images is no matter.</summary>
    [Fact]
    public void A_checkpoint_for_other_classes_or_sizes_is_where_training_begins()
    {
        string model = SmallCnn.Write(folder.File("net.safetensors"));
        string same = Train(["--init", model, "--num-steps", "1", "--img-size", "32", "--name", "large"]).MustSucceed().Out;
        Assert.DoesNotContain("new one", same);
        using (Model large = Model.Open(folder.File("large.safetensors"))) Assert.Equal(32, large.ImageSize);

        string[] names = [.. Enumerable.Range(0, 10).Select(i => $"thing {i}")];
        using (Model other = Model.Open(model))
        {
            other.Card = other.Card with { Classes = names };
            other.Save(folder.File("named.safetensors"));
            other.ReplaceHead(3);
            other.Save(folder.File("three.safetensors"));
        }
        foreach (string file in new[] { "named", "three" })
        {
            string output = Train(["--init", folder.File($"{file}.safetensors"), "--num-steps", "1", "--learning-rate", "0",
                "--name", file + "-tuned"]).MustSucceed().Out;
            Assert.Contains("new one for", output);
            using Model tuned = Model.Open(folder.File(file + "-tuned.safetensors")), before = Model.Open(model);
            Assert.Equal(("Ankle boot", 10), (tuned.Card.Classes![9], tuned.NumClasses));
            Assert.NotEqual(Weight(before, "classifier.weight"), Weight(tuned, "classifier.weight"));
            Assert.Equal(before.Graph.Parameters.First().Value.ToArray(), tuned.Graph.Parameters.First().Value.ToArray());
        }
        using (Model net = Model.Open(model)) net.ExportOnnx(folder.File("net.onnx"));
        Train(["--init", folder.File("net.onnx"), "--num-steps", "3", "--name", "imported"]).MustSucceed();
        using (Model net = Model.Open(model), tuned = Model.Open(folder.File("imported.safetensors")))
        {
            Assert.Equal(net.ParameterCount, tuned.ParameterCount);
            Assert.NotEqual(Weight(net, "classifier.weight"), Weight(tuned, "classifier.weight"));
        }
        Train(["--pretrained", model, "--num-steps", "1", "--learning-rate", "0", "--name", "backbone"]).MustSucceed();
        using Model backbone = Model.Open(folder.File("backbone.safetensors")), whole = Model.Open(model);
        Assert.NotEqual(Weight(whole, "classifier.weight"), Weight(backbone, "classifier.weight"));

        static float[] Weight(Model net, string name) => net.Graph.Weights[name].Tensor.ToArray();
    }

    [Fact]
    public void A_state_of_another_shape_is_not_resumed()
    {
        string small = SmallCnn.WritePruned(folder.File("small.safetensors"));
        Train(["--init", small, "--num-steps", "2"]).MustSucceed();
        string line = Train(["--init", small + ".whole", "--num-steps", "2", "--resume"]).MustFail(2);
        Assert.Contains("Model was", line);
    }

    [Theory]
    [InlineData("--method apt", "--method apt")]
    [InlineData("--target-flops 0.5", "espalier compress")]
    [InlineData("--clip groups", "--clip")]
    [InlineData("--config shape.json", "--config")]
    [InlineData("--init net.safetensors --width 0.5", "--width")]
    [InlineData("--distillation hinton", "--teacher")]
    public void What_does_not_apply_is_refused(string arguments, string expected)
    {
        string model = SmallCnn.Write(folder.File("net.safetensors"));
        string[] given = arguments.Replace("net.safetensors", model, StringComparison.Ordinal).Split(' ');
        string[] network = arguments.Contains("net.safetensors", StringComparison.Ordinal) ? [] : ["--model-type", "resnet20"];
        Assert.Contains(expected, Train([.. network, .. given, "--num-steps", "1"]).MustFail(2));
    }

    [Theory]
    [InlineData("--model-type vit-tiny-28 --width 0.5", "--width")]
    [InlineData("--model-type vit-tiny-28 --mixup 0.8", "--method none")]
    [InlineData("--model-type resnet21", "resnet20")]
    public void Transformers_have_neither_widths_nor_other_names(string arguments, string expected) =>
        Assert.Contains(expected, Train([.. arguments.Split(' '), "--num-steps", "1"]).MustFail(2));

    private Outcome Train(string[] arguments, string[]? network = null) => Tool.Run(Arguments([.. network ?? [], .. arguments]));

    private string[] Arguments(string[] own) =>
        ["train", .. SmallCnn.Data, .. own, "--train-batch-size", "16", "--eval-every", "0", "--no-augment", "--output-dir",
            folder.Path];

    private double Loss(bool last)
    {
        string[] lines =
            [.. File.ReadLines(folder.File("cnn.history.jsonl")).Where(l => l.Contains("\"loss\"", StringComparison.Ordinal))];
        return JsonDocument.Parse(lines[last ? ^1 : 0]).RootElement.GetProperty("loss").GetDouble();
    }

    private static string Line(Outcome outcome, string name) =>
        outcome.Out.Split('\n').Single(l => l.StartsWith(name + " ", StringComparison.Ordinal))[name.Length..].Trim();
}
