using Espalier.Data;
using Espalier.Imaging;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tests.Data;
using Espalier.Tests.Imaging;
using Espalier.Training;

namespace Espalier.Tests.Training;

public sealed class TrainPrecisionTests
{
    private static readonly TrainOptions Options = new()
    {
        Steps = 12, BatchSize = 8, EvalBatchSize = 8, EvalEvery = 0, LogEvery = 1, Name = "run", Optimizer = "adamw",
        LearningRate = 0.001f,
    };

    /// <summary>Near float32's losses and not equal to them; stopped and resumed, the same bits.</summary>
    [Fact]
    public void Training_in_bfloat16_follows_float32_and_resumes()
    {
        TrainOptions narrow = Options with { Precision = Precision.Bf16 };
        if (KernelInfo.For(Precision.Bf16).Name is null)
        {
            Assert.Contains("no bf16", Assert.Throws<EspalierException>(() => Losses(narrow)).Message);
            return;
        }
        double[] wide = Losses(Options), rounded = Losses(narrow);
        Assert.NotEqual(wide, rounded);
        for (int i = 0; i < wide.Length; i++) Assert.InRange(rounded[i], wide[i] - 0.05, wide[i] + 0.05);

        using var folder = new TempFolder();
        TrainOptions written = narrow with { OutputDir = folder.Path, Resume = true };
        double[] first = Losses(written, stop: 5), rest = Losses(written);
        Assert.Equal(rounded.AsEnumerable(), first.Concat(rest));
        var e = Assert.Throws<EspalierException>(() => Losses(written with { Precision = Precision.Fp32 }));
        Assert.Contains("Precision was Bf16 and is Fp32 now", e.Message);
    }

    /// <summary>States of before there was a choice are of float32.</summary>
    [Fact]
    public void A_state_that_does_not_say_it_is_of_float32()
    {
        if (KernelInfo.For(Precision.Bf16).Name is null) return;
        using var folder = new TempFolder();
        TrainOptions options = Options with { OutputDir = folder.Path, Resume = true };
        Losses(options, stop: 3);
        string path = Path.Combine(folder.Path, "run.state");
        byte[] state = File.ReadAllBytes(path);
        int at = state.AsSpan().IndexOf("option/Precision"u8);
        Assert.True(at > 0);
        state[at] = (byte)'O';
        File.WriteAllBytes(path, state);
        var e = Assert.Throws<EspalierException>(() => Losses(options with { Precision = Precision.Bf16 }));
        Assert.Contains("Precision was Fp32 and is Bf16 now", e.Message);
        Assert.Equal(Options.Steps - 3, Losses(options).Length);
    }

    /// <summary>A new option must not make the states of all runs before it useless: it says what it was then.</summary>
    [Fact]
    public void States_of_before_there_was_an_option_go_on()
    {
        string[] first =
        [
            "Steps", "BatchSize", "GradientAccumulationSteps", "Optimizer", "LearningRate", "Momentum", "WeightDecay", "Schedule",
            "WarmupSteps", "Milestones", "MaxGradNorm", "ClipGroups", "EmaDecay", "Seed", "Shuffle",
        ];
        string[] later = [.. Options.Identity().Select(o => o.Name).Except(first)];
        Assert.Contains("SyncBatchNorm", later);
        using var folder = new TempFolder();
        TrainOptions options = Options with { OutputDir = folder.Path, Resume = true };
        Losses(options, stop: 3);
        string path = Path.Combine(folder.Path, "run.state");
        byte[] state = File.ReadAllBytes(path);
        foreach (string name in later)
        {
            int at = state.AsSpan().IndexOf(System.Text.Encoding.ASCII.GetBytes($"option/{name}"));
            Assert.True(at > 0, name);
            state[at] = (byte)'O';
        }
        File.WriteAllBytes(path, state);
        Assert.Equal(Options.Steps - 3, Losses(options).Length);
    }

    private static double[] Losses(TrainOptions options, int? stop = null)
    {
        using var cancel = new CancellationTokenSource();
        using Model model = Model.Create("vit-tiny-28", 3, 1, imageSize: 28);
        model.Card = model.Card with { Preprocessing = Preprocessing.Half(28, 1) };
        var data = new TrainingData(new FakeDataset(38), ImagePipeline.Eval(28, 1), new FakeDataset(8), ImagePipeline.Eval(28, 1));
        var progress = new Stopping(stop, cancel);
        new Trainer(new ClassifierTask(model, new ClassifierTaskOptions()), data, options).Run(progress, cancel.Token);
        return [.. progress.Losses];
    }

    private sealed class Stopping(int? stop, CancellationTokenSource cancel) : ITrainingProgress
    {
        public List<double> Losses { get; } = [];

        public void Step(StepInfo info)
        {
            Losses.Add(info.Scalars["loss"]);
            if (info.Step == stop) cancel.Cancel();
        }

        public void Evaluating(long step, int batch, int batches)
        {
        }

        public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest)
        {
        }

        public void Message(string text)
        {
        }
    }
}
