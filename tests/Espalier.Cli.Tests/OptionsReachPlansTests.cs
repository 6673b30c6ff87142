using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Tensors;

namespace Espalier.Cli.Tests;

/// <summary>Options that no other test gives: what is typed is what the plan says.</summary>
public sealed class OptionsReachPlansTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Of_compress()
    {
        Assert.Equal((2, 1, false, PruningSchedule.Linear, false, null), Told());
        Assert.Equal((7, 16, true, PruningSchedule.Agp, true, "resnet20"), Told("--min-kept", "7", "--time-batch", "16", "--streams",
            "--schedule", "agp", "--move-constants", "--teacher", "teacher.pth", "--teacher-type", "resnet20"));
        Assert.Equal(PruningSchedule.Remaining, Told("--schedule", "remaining").Schedule);

        static (int MinKept, int TimeBatch, bool Streams, PruningSchedule Schedule, bool MoveConstants, string? TeacherType) Told(
            params string[] options)
        {
            var context = new CommandContext(new Terminal(TextWriter.Null, TextWriter.Null, false, 80), default);
            ParseResult parse = CommandLine.Build(context).Parse(["compress", "l1", "--model", "net.safetensors", .. options]);
            Assert.Empty(parse.Errors);
            CompressPlan plan = CompressFlags.Read(parse, CompressionMethods.Get("l1"));
            SelectionOptions selection = plan.Method.Selection;
            return (selection.MinKept, selection.TimeBatch, selection.Streams, plan.Method.Schedule, plan.Method.MoveConstants,
                plan.Recipe.TeacherType);
        }
    }

    [Fact]
    public void Of_train()
    {
        TrainPlan usual = Train(), plan = Train("--ema", "0.999", "--amp", "bf16", "--eval-batch-size", "7", "--prune-from", "0.4",
            "--keep-bias", "3");
        Assert.Equal((null, Precision.Fp32, 32), (usual.Options.EmaDecay, usual.Options.Precision, usual.Options.EvalBatchSize));
        Assert.Equal((0.999, Precision.Bf16, 7), (plan.Options.EmaDecay, plan.Options.Precision, plan.Options.EvalBatchSize));
        Assert.Equal(("0.2", "0"), (Setting(usual, "prune-from"), Setting(usual, "keep-bias")));
        Assert.Equal(("0.4", "3"), (Setting(plan, "prune-from"), Setting(plan, "keep-bias")));
    }

    [Fact]
    public void Of_train_averaged_weights_are_of_the_file_to_start_from()
    {
        Assert.False(Train("--init", "start.pth").AveragedWeights);
        Assert.True(Train("--init", "start.pth", "--averaged-weights").AveragedWeights);
        Assert.Contains("--averaged-weights", Assert.Throws<EspalierException>(() => Train("--averaged-weights")).Message);
    }

    /// <summary>The original code's defects, and none of what is usual from scratch.</summary>
    [Fact]
    public void Of_train_faithful()
    {
        TrainPlan usual = Train(), plan = Train("--faithful");
        string[] names = ["reward", "reward-dropout", "explore-batch-range", "plain-loss", "self-distill", "prune-from"];
        Assert.Equal(["true-class", "no", "no", "1", "0.5", "0.2"], names.Select(n => Setting(usual, n)));
        Assert.Equal(["true-class", "yes", "yes", "0", "0", "0"], names.Select(n => Setting(plan, n)));
        Assert.Equal((true, null), (usual.Options.ClipGroups, usual.HoldOut));
        Assert.Equal((false, 0), (plan.Options.ClipGroups, plan.HoldOut));
    }

    /// <summary>Its plan is its own; what was done by it is said.</summary>
    [Fact]
    public void Of_quantize()
    {
        string model = folder.File("vit.safetensors");
        using (Model vit = Model.Create("vit-tiny-28", 10, 1, 28))
        {
            // A new classifier is of zeros.
            Tensor head = vit.Graph.Weights["head.weight"].Tensor;
            for (int i = 0; i < head.Length; i++) head.Span[i] = MathF.Sin(i);
            vit.Card = vit.Card with { Dataset = "fashion-mnist-sample" };
            vit.Save(model);
        }
        string[] run = ["quantize", "--model", model, "--calibration-images", "8", "--limit", "20"];
        string usual = Tool.Run(run).MustSucceed().Out;
        Assert.Contains("ranges      Mse of 8 images", usual);
        Assert.Contains("layer norms with a range for each channel", usual);
        Assert.DoesNotContain("codes of probabilities", usual);
        string other = Tool.Run([.. run, "--observer", "minmax", "--norms", "whole", "--probabilities", "log2"]).MustSucceed().Out;
        Assert.Contains("ranges      MinMax of 8 images", other);
        Assert.DoesNotContain("layer norms with a range for each channel", other);
        Assert.Contains("6 attentions with Log2 codes of probabilities", other);
        // Its heads are too narrow for products of bytes.
        Assert.Contains("leave --attention out", Tool.Run([.. run, "--attention"]).MustFail(2));
    }

    private static TrainPlan Train(params string[] options)
    {
        var flags = new TrainFlags();
        var root = new RootCommand { flags.AddTo(new Command("train")) };
        ParseResult parse = root.Parse(["train", "--data", "fashion-mnist", "--model-type", "vit-small-28", .. options]);
        Assert.Empty(parse.Errors);
        return flags.Read(parse);
    }

    private static string Setting(TrainPlan plan, string name) => plan.Method!.Settings.Single(s => s.Name == name).Of(plan.Method);
}
