using System.Text.Json;
using Espalier.Compression;
using Espalier.Compression.Methods.WdPruning;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class WdPruningTests
{
    [Theory]
    [InlineData(768, 0.50, 384)]
    [InlineData(768, 0.52, 400)]
    [InlineData(768, 0.525, 400)]
    [InlineData(768, 0.53, 416)]
    [InlineData(768, 0.01, 16)]
    [InlineData(3072, 0.70, 2144)]
    [InlineData(12, 0.75, 9)]
    [InlineData(192, 0.90, 176)]
    [InlineData(384, 0.33, 128)]
    [InlineData(3, 0.5, 2)]
    [InlineData(768, 0.9999546, 768)]
    [InlineData(12, 0.9999546, 12)]
    public void Rows_that_are_kept(int rows, double share, int kept) => Assert.Equal(kept, WdRule.Count(rows, share));

    [Fact]
    public void Masks_and_their_gradients()
    {
        Assert.Equal([1, 0, 1, 0], WdRule.Mask([2, 1, 2, 1], 0));
        Assert.Equal([1, 1, 0], WdRule.Mask([0, 0, 0], 0));
        Assert.Equal(0.3, WdRule.ThresholdGradient([0.2, -0.5, 0.1], [1, 0, 1]), 1e-12);
        var multipliers = new LearnedNumbers(2, 0);
        multipliers.Step([0.1, 0.01], -10);
        Assert.Equal(10, multipliers.Values[0], 1e-4);
        Assert.Equal(10, multipliers.Values[1], 1e-4);
        Assert.Equal(0.001255, WdHook.Rate(0.0025, 50, 100), 1e-9);
        Assert.Equal(5.000005, WdHook.Rate(10, 50, 100), 1e-9);
        // The penalty is known by its slope alone, which is linear: the slope half way times the way is the penalty.
        Assert.Equal(0.703125, WdRule.Push((0.8 + 0.8625) / 2, 0.8, 10, 20) * (0.8625 - 0.8), 1e-12);
        Assert.Equal(10 + 2 * 20 * 0.0625, WdRule.Push(0.8625, 0.8, 10, 20), 1e-12);
        Assert.Equal(0, WdRule.Push(0.75, 0.8, 10, 20));
    }

    [Theory]
    [InlineData(1, 1, 1, 1, 1)]
    [InlineData(0.8, 0.8, 0.8, 0.8, 0.7333333)]
    [InlineData(0.9, 0.9, 0.9, 0.9, 0.8625)]
    [InlineData(0.5, 1, 0.75, 1, 0.6666667)]
    [InlineData(0.8524175, 0.8524175, 0.8524175, 0.8524175, 0.8)]
    [InlineData(0.6, 0.6, 0.6, 0.6, 0.5)]
    [InlineData(0.4, 0.4, 0.4, 0.4, 0.3)]
    public void What_thresholds_leave_of_the_weights(
        double heads, double projection, double first, double second, double expected)
    {
        using Model model = Model.FromModule(new VisionTransformer(new VitConfig
        {
            ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 12, MlpDim = 48, NumHeads = 3, NumLayers = 2, NumClasses = 4,
        }));
        WdMasks masks = WdMasks.Insert(model.Graph, _ => false, 40);
        Assert.Equal(1, masks.Remaining(), 1e-9);
        foreach (WdBlock b in masks.Blocks)
            foreach (var (layer, keep) in b.Layers.Zip([heads, projection, first, second]))
                layer.Threshold.Values[0] = keep == 1 ? 40 : Math.Log(keep / (1 - keep));
        Assert.Equal(expected, masks.Remaining(), 1e-6);
        if (heads == 1) return;
        // Slopes are those of finite differences.
        foreach (WdLayer layer in masks.Layers)
        {
            double before = masks.Remaining(), slope = masks.Slope(layer);
            layer.Threshold.Values[0] += 1e-5;
            Assert.Equal(slope, (masks.Remaining() - before) / 1e-5, 1e-5);
            layer.Threshold.Values[0] -= 1e-5;
        }
    }

    /// <summary>Sixteen heads are a multiple of 16, and a single one of them can go.</summary>
    [Fact]
    public void Heads_are_not_rounded()
    {
        using Model model = Model.FromModule(new VisionTransformer(new VitConfig
        {
            ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 32, MlpDim = 48, NumHeads = 16, NumLayers = 1, NumClasses = 4,
        }));
        WdMasks masks = WdMasks.Insert(model.Graph, _ => false, Math.Log(0.9 / 0.1));
        masks.Apply();
        WdBlock block = Assert.Single(masks.Blocks);
        Assert.Equal(15, block.Heads!.Mask.Sum());
        Assert.Equal(32, block.Projection!.Mask.Sum());
        Assert.Equal(15 / 16.0, block.Left([1, 0, 0, 0], 0), 1e-12);
    }

    [Fact]
    public void Both_layers_of_a_gated_MLP_count()
    {
        using Model model = TokenNets.Vit(form: new VitForm { GatedMlp = true });
        int hidden = TokenNets.Small.HiddenSize * TokenNets.Small.MlpDim;
        foreach (WdBlock block in WdMasks.Insert(model.Graph, _ => false, 10).Blocks)
        {
            Assert.Equal(2 * hidden, block.Parameters[2]);
            Assert.Equal(hidden, block.Parameters[3]);
            Assert.Equal(2 * block.MultiplyAdds[3], block.MultiplyAdds[2]);
        }
        // Where either is kept the rows of both stay.
        using Model kept = TokenNets.Vit(form: new VitForm { GatedMlp = true });
        WdMasks some = WdMasks.Insert(kept.Graph, layer => layer.EndsWith("ffn.fc1", StringComparison.Ordinal), 10);
        Assert.All(some.Blocks, b => Assert.Null(b.First));
        Assert.All(some.Blocks, b => Assert.NotNull(b.Second));
    }

    [Fact]
    public void Exits_learn_mixed_and_smoothed_labels()
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        WdMasks masks = WdMasks.Insert(model.Graph, _ => false, 10);
        var method = new WdPruning { TrainSteps = 1 };
        GraphValue exit = method.NewExit(masks, 1);
        var hook = new WdHook(masks, method, 0.4, [exit]);
        var logits = new Tensor(new Shape(8, 10));
        for (int i = 0; i < logits.Length; i++) logits.Span[i] = MathF.Sin(i);
        int[] labels = TinyGolden.Batch(0).Labels;
        Tensor targets = Mixing.Targets(labels, 10, 0.1f, 0.7f);
        var pass = new TrainingPass(TinyGolden.Batch(0), TinyGolden.Images(0), logits, null) { LabelSmoothing = 0.1f };
        pass.Values[exit.Name] = logits;
        var context = new StepContext(1, 1, 0, 0, 1, new Rng(1));
        Assert.Equal(F.CrossEntropy(logits, labels, 0.1f).Item(), hook.Loss(pass, context)!.Item());
        Assert.Equal(F.CrossEntropy(logits, targets).Item(), hook.Loss(pass with { Mixed = targets }, context)!.Item());
    }

    /// <summary>What hooks are told of labels is what the network's own loss is made of.</summary>
    [Theory]
    [InlineData(0f, 0f)]
    [InlineData(0.1f, 0f)]
    [InlineData(0.1f, 0.8f)]
    public void Hooks_are_told_how_labels_are_learnt(float smoothing, float mixup)
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        var asks = new Asks();
        var task = new ClassifierTask(model, new ClassifierTaskOptions
        {
            LabelSmoothing = smoothing, Mixing = new Mixing(mixup), Hooks = [asks],
        });
        double loss = task.Step(TinyGolden.Batch(0), new StepContext(1, 1, 0, 0, 1, new Rng(1)))["loss"];
        Assert.Equal(loss, asks.Told, 1e-6);
    }

    [Fact]
    public void Full_masks_change_nothing()
    {
        using var scope = new Scope();
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        float[] before = model.Graph.Run(TinyGolden.Images(0)).ToArray();
        WdMasks masks = WdMasks.Insert(model.Graph, _ => false, 10);
        masks.Apply();
        Assert.All(masks.Layers, l => Assert.DoesNotContain(0, l.Mask));
        Assert.Equal(before, model.Graph.Run(TinyGolden.Images(0)).ToArray());
    }

    [Fact]
    public void Four_training_steps_give_PyTorchs_numbers()
    {
        var golden = new TinyGolden("WdPruning", "steps.json");
        using Model model = golden.Model();
        var method = new WdPruning { TrainSteps = 4, Initial = 1, Rate = 0.3 };
        WdMasks masks = WdMasks.Insert(model.Graph, _ => false, 1);
        masks.Apply();
        GraphValue exit = method.NewExit(masks, 1);
        Span<float> weights = model.Graph.Weights["exit.1.head.weight"].Tensor.Span;
        for (int i = 0; i < weights.Length; i++) weights[i] = (float)(0.3 * Math.Sin(i));
        var hook = new WdHook(masks, method, 0.4, [exit]);
        double[] losses = TinyGolden.Train(model, 0.05f, 4, hook);
        TinyGolden.Close(golden["losses"], Floats(losses));
        WdLayer[] layers = [.. masks.Layers];
        TinyGolden.Close(golden["thresholds"], Floats(layers.Select(l => l.Threshold.Values[0])));
        TinyGolden.Close(golden["multipliers"], Floats(hook.Multipliers), 1e-3);
        Assert.Equal(golden.Root.GetProperty("remaining").GetDouble(), masks.Remaining(), 1e-5);
        int at = 0;
        foreach (JsonElement scores in golden.Root.GetProperty("scores").EnumerateArray())
            TinyGolden.Close(TinyGolden.Numbers(scores), Floats(layers[at++].Scores.Values), 1e-3);
        at = 0;
        foreach (JsonElement mask in golden.Root.GetProperty("masks").EnumerateArray())
            Assert.Equal(TinyGolden.Numbers(mask), layers[at++].Mask);
        foreach (JsonProperty weight in golden.Root.GetProperty("weights").EnumerateObject())
            TinyGolden.Close(TinyGolden.Numbers(weight.Value), model.Graph.Weights[weight.Name].Tensor.Span);
        TinyGolden.Close(golden["exit"], model.Graph.Weights["exit.1.head.weight"].Tensor.Span);

        static float[] Floats(IEnumerable<double> values) => [.. values.Select(v => (float)v)];
    }

    /// <summary>A useless classifier behind all blocks makes the exit the better end.</summary>
    [Theory]
    [InlineData("none", false, 2)]
    [InlineData("usual", true, 1)]
    [InlineData("1", true, 1)]
    public void Ends_smaller_and_where_the_loss_is_least(string exits, bool spoil, int blocks)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        if (spoil) foreach (ref float x in model.Graph.Weights["head.weight"].Tensor.Span) x *= 100;
        CompressionJob job = CompressionJobs.Job(model, new WdPruning
        {
            Exits = exits, TargetFlops = 0.4, TrainSteps = 3, FineTuneSteps = 1, RankBatches = 1, Initial = 1, Rate = 0.3,
            Training = new TrainOptions { LearningRate = 1e-3f },
        });
        job.Run();
        Assert.Equal(blocks, TransformerBlocks.Of(model.Graph).Blocks.Count);
        Assert.All(job.Removals, r => Assert.InRange(r.Difference, 0, 1e-5f));
        if (blocks == 1) Assert.Equal(0, job.Removals[0].Difference);
        double left = (double)job.Removals[^1].Summary.MultiplyAddsAfter / job.Removals[0].Summary.MultiplyAddsBefore;
        Assert.InRange(left, 0.2, 0.4);
        Assert.DoesNotContain(model.Graph.Weights.Keys, w => w.Contains("gate", StringComparison.Ordinal));
        Assert.Equal(blocks == 1, model.Graph.Weights.ContainsKey("exit.1.head.weight"));
        string onnx = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.onnx");
        try
        {
            model.ExportOnnx(onnx);
            using Model read = Model.Open(onnx);
            using var scope = new Scope();
            Tensor images = TinyGolden.Images(0);
            float[] expected = model.Graph.Run(images).ToArray();
            Assert.InRange(Removal.Difference(expected, read.Graph.Run(images).ToArray()), 0, 1e-4f);
            float[] there = OnnxRuntime.Floats(OnnxRuntime.Run(onnx, images.Span, images.Shape[0])["logits"]);
            Assert.InRange(Removal.Difference(expected, there), 0, 1e-4f);
        }
        finally
        {
            File.Delete(onnx);
        }
    }

    /// <summary>Masked rows are zero when they go, as in training, so that there is nothing of them to move into what stays.</summary>
    [Fact]
    public void Rows_that_go_have_no_constants()
    {
        float[][] logits = [.. new[] { false, true }.Select(moves =>
        {
            using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
            foreach (GraphValue bias in model.Graph.Weights.Values.Where(w => w.Name.EndsWith("bias", StringComparison.Ordinal)))
                foreach (ref float x in bias.Tensor.Span) x += 0.5f;
            CompressionJobs.Job(model, new WdPruning
            {
                Exits = "none", TargetFlops = 0.5, TrainSteps = 3, RankBatches = 1, Initial = 1, Rate = 0.3, MoveConstants = moves,
            }).Run();
            using var scope = new Scope();
            return model.Graph.Run(TinyGolden.Images(0)).ToArray();
        })];
        Assert.InRange(Removal.Difference(logits[0], logits[1]), 0, 1e-5f);
    }

    [Fact]
    public void Goes_on_where_it_stopped()
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model(CompressionJobs.TinyVit, 8), new WdPruning
        {
            TargetFlops = 0.5, TrainSteps = 4, FineTuneSteps = 2, Initial = 1, Rate = 0.3,
            Training = new TrainOptions { LearningRate = 0.01f },
        });
        Assert.Equal(whole.Keys, resumed.Keys);
        Assert.All(whole, w => Assert.Equal(w.Value, resumed[w.Key]));
    }

    [Theory]
    [InlineData("usual", 0.02, 3, "no widths reach 0.02")]
    [InlineData("2", 0.5, 3, "behind 1 to 1")]
    [InlineData("usual", 0.5, 0, "TrainSteps is 0")]
    public void Refuses_what_cannot_be_before_the_first_step(string exits, double flops, long steps, string message)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        int nodes = model.Graph.Nodes.Count;
        CompressionJob job = CompressionJobs.Job(model, new WdPruning { Exits = exits, TargetFlops = flops, TrainSteps = steps });
        Assert.Contains(message, Assert.Throws<EspalierException>(job.Run).Message, StringComparison.Ordinal);
        Assert.Empty(job.Stages);
        Assert.Equal(nodes, model.Graph.Nodes.Count);
    }

    [Fact]
    public void Refuses_to_train_some_layers_only()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        CompressionJob job = CompressionJobs.Job(model, new WdPruning
        {
            TargetFlops = 0.5, TrainSteps = 3, Training = new TrainOptions { TrainOnly = ["head"] },
        });
        Assert.Contains("leave TrainOnly out", Assert.Throws<EspalierException>(job.Run).Message, StringComparison.Ordinal);
        Assert.Empty(job.Stages);
    }

    /// <summary>Asks for the loss by labels of the network's own logits.</summary>
    private sealed class Asks : ITrainingHook
    {
        public float Told { get; private set; }

        public Tensor? Loss(TrainingPass pass, in StepContext context)
        {
            using (Recording.Pause()) Told = pass.LabelLoss(pass.Logits).Item();
            return null;
        }
    }
}
