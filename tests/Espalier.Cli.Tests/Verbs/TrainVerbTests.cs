using Espalier.Formats;
using Espalier.Inference;

namespace Espalier.Cli.Tests.Verbs;

public sealed class TrainVerbTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Four_steps_give_the_references_weights_in_every_checkpoint_written()
    {
        Tool.Run(Golden.Train(folder.Path, 4)).MustSucceed();
        Assert.True(File.Exists(folder.File("apt.safetensors")));
        foreach (string file in Directory.GetFiles(folder.Path, "*.safetensors", SearchOption.AllDirectories))
            Golden.AssertWeights(Golden.Trained, file);
    }

    [Fact]
    public void A_checkpoint_says_all_that_loading_needs()
    {
        Tool.Run(Golden.Train(folder.Path, 1)).MustSucceed();
        using Session session = Session.Open(folder.File("apt.safetensors"));
        Assert.Equal([1, 3], session.AgentLayers);
        Assert.Equal(Pruning.Threshold(0.5f), session.Pruning);
        Assert.Equal("fashion-mnist", session.Dataset);
        Assert.Equal("Ankle boot", session.ClassNames![9]);
        Tool.Run("infer", "--model", folder.File("apt.safetensors"), "--data-dir", Golden.Folder).MustSucceed();
    }

    [Fact]
    public void A_run_that_was_interrupted_and_resumed_ends_bit_for_bit_like_one_that_was_not()
    {
        string[] Arguments(string name) => [.. Golden.Train(folder.Path, 40), "--name", name, "--threads", "2"];
        Tool.Run(Arguments("whole")).MustSucceed();

        using var cancel = new CancellationTokenSource();
        Outcome stopped = Tool.Run(new CancellingWriter("step 1 of", cancel), cancel.Token, Arguments("parts"));
        Assert.Equal(130, stopped.Code);
        Assert.Contains("resume with: espalier train", stopped.Out);
        Assert.Contains("--resume", stopped.Out);

        Outcome resumed = Tool.Run([.. Arguments("parts"), "--resume"]).MustSucceed();
        Assert.Contains("Resuming parts after step", resumed.Out);
        Assert.Equal(File.ReadAllBytes(folder.File("whole.safetensors")), File.ReadAllBytes(folder.File("parts.safetensors")));
    }

    [Fact]
    public void A_plain_model_learns_and_has_no_agents()
    {
        Tool.Run("train", "--method", "none", "--data", "fashion-mnist-sample", "--model-type", "vit-tiny-28", "--num-steps",
            "30",
            "--train-batch-size", "32", "--optimizer", "adamw", "--no-augment", "--eval-limit", "200", "--output-dir",
                folder.Path).MustSucceed();
        Assert.DoesNotContain(CheckpointFile.Read(folder.File("vit.safetensors")).Arrays.Keys, k =>
            k.Contains("clip_layer", StringComparison.Ordinal));
        string first = File.ReadLines(folder.File("vit.history.jsonl")).First(),
            last = File.ReadLines(folder.File("vit.history.jsonl"))
            .Last(l => l.Contains("\"loss\"", StringComparison.Ordinal));
        Assert.True(Loss(last) < Loss(first), $"{first} then {last}");

        static double Loss(string line) => System.Text.Json.JsonDocument.Parse(line).RootElement.GetProperty("loss").GetDouble();
    }

    [Fact]
    public void A_part_of_a_large_training_split_is_held_out_and_the_test_images_are_reported_on()
    {
        string[] arguments = ["train", "--data", "fashion-mnist-sample", "--model-type", "vit-tiny-28", "--num-steps", "1",
            "--train-batch-size", "4", "--eval-limit", "50", "--output-dir", folder.Path];
        Outcome outcome = Tool.Run(arguments).MustSucceed();
        Assert.Contains("1900 training images, 50 held out", outcome.Out);
        Assert.Contains("on the 50 test images", outcome.Out);
        Assert.Matches(@"no budget   pruned passes spend what the agents left, [\d.]+ % of the multiply-adds; --target-flops", outcome.Out);
        Assert.DoesNotContain("no budget", Tool.Run([.. arguments, "--target-flops", "0.5", "--overwrite"]).MustSucceed().Out);
        Assert.Contains("2000 training images, 50 for testing", Tool.Run([.. arguments, "--no-shuffle", "--overwrite"]).MustSucceed().Out);
    }

    [Fact]
    public void Options_may_be_written_with_the_original_scripts_underscores()
    {
        string[] arguments =
            [.. Golden.Train(folder.Path, 1).Select(a => a.StartsWith("--", StringComparison.Ordinal) ? "--"
                + a[2..].Replace('-', '_') : a)];
        Assert.Contains("--train_batch_size", arguments);
        Tool.Run(arguments).MustSucceed();
    }

    /// <summary>Agents learn on a backbone that stays as it is, and the other way round.</summary>
    [Theory]
    [InlineData("*clip_layer*", true)]
    [InlineData("head,*.ffn.fc?", false)]
    public void Only_the_named_layers_are_trained(string patterns, bool agents)
    {
        Tool.Run([.. Golden.Train(folder.Path, 2), "--weight-decay", "0.1", "--train-only", patterns]).MustSucceed();
        Checkpoint before = CheckpointFile.Read(Golden.Checkpoint), after = CheckpointFile.Read(folder.File("apt.safetensors"));
        bool Trained(string name) => agents ? name.Contains("clip_layer")
            : name.StartsWith("head.", StringComparison.Ordinal) || name.Contains(".ffn.fc");
        Assert.Contains(before.Arrays.Keys, Trained);
        Assert.All(before.Arrays.Values,
            old => Assert.True(Trained(old.Name) != old.Data.SequenceEqual(after[old.Name].Data), old.Name));
    }

    [Fact]
    public void A_pretrained_backbone_gets_a_zero_classifier()
    {
        Tool.Run("train", "--pretrained", Golden.Checkpoint, "--config", Golden.Config, "--data-dir", Golden.Folder,
            "--learning-rate", "0",
            "--num-steps", "1", "--train-batch-size", "16", "--output-dir", folder.Path).MustSucceed();
        Checkpoint before = CheckpointFile.Read(Golden.Checkpoint), after = CheckpointFile.Read(folder.File("apt.safetensors"));
        Assert.All(after["head.weight"].Data, w => Assert.Equal(0, w));
        Assert.Equal(before["transformer.encoder.layer.0.attn.query.weight"].Data,
            after["transformer.encoder.layer.0.attn.query.weight"].Data);
    }
}
