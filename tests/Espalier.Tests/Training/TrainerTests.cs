using Espalier.Formats;
using Espalier.Optim;
using Espalier.Tests.Imaging;
using Espalier.Training;

namespace Espalier.Tests.Training;

public sealed class TrainerTests
{
    private static readonly TrainOptions Small = new()
    {
        Steps = 12, BatchSize = 8, EvalBatchSize = 4, EvalEvery = 5,
        LogEvery = 5, Name = "run"
    };

    [Fact]
    public void Learns()
    {
        using var task = new TinyTask();
        var progress = new ProgressLog();
        new Trainer(task, TinyTask.Data(), Small with { Steps = 200, LearningRate = 0.3f }).Run(progress);
        Assert.True(progress.Steps[^1].Scalars["loss"] < 0.5 * progress.Steps[0].Scalars["loss"]);
        Assert.All(task.Net.Parameters(), p => Assert.Null(p.Grad));
    }

    [Fact]
    public void FollowsTheScheduleAndEvaluatesOnTimeAndAtTheEnd()
    {
        using var task = new TinyTask();
        var progress = new ProgressLog();
        TrainResult result = new Trainer(task, TinyTask.Data(), Small with { WarmupSteps = 4 }).Run(progress);
        ISchedule schedule = new CosineSchedule(4);
        Assert.Equal(Enumerable.Range(1, 12)
            .Select(k => (double)0.03f * schedule.Multiplier(k, 12)), progress.Steps.Select(s => s.LearningRate));
        Assert.Equal([5L, 10L, 12L], progress.Evaluations.Select(e => e.Step));
        Assert.Equal(3 * 3, progress.EvaluatedBatches);
        Assert.Equal(11, result.Evaluation!.Scalars["images"]);
        Assert.Equal(12, result.Step);
    }

    /// <summary>D18 of APT: a run shorter than the evaluation interval still evaluates and saves.</summary>
    [Fact]
    public void AShortRunSavesToo()
    {
        using var folder = new TempFolder();
        using var task = new TinyTask();
        new Trainer(task, TinyTask.Data(), Small with { Steps = 2, OutputDir = folder.Path }).Run();
        foreach (string file in new[] { "run.safetensors", "run-best-high.safetensors", "run-best-low.safetensors", "run.state" })
            Assert.True(File.Exists(Path.Combine(folder.Path, file)), file);
        Assert.False(File.Exists(Path.Combine(folder.Path, "run.lock")));
        Assert.Equal(task.Net.Weight.ToArray(), Weight(folder, "run.safetensors"));
        Assert.Equal(["eval/images", "eval/likelihood"], History(folder)[^1].Values.Keys.Order());
    }

    [Fact]
    public void AccumulationUsesWholeStepsOfEveryEpoch()
    {
        using var task = new TinyTask();
        // Micro-batches of 3: 16 an epoch, of which 5 steps take 15.
        new Trainer(task, TinyTask.Data(), Small with { Steps = 10, BatchSize = 9, GradientAccumulationSteps = 3 }).Run();
        Assert.Equal(90, task.Indices.Count);
        Assert.Equal(45, task.Indices.Take(45).Distinct().Count());
        Assert.Equal(45, task.Indices.Skip(45).Distinct().Count());
    }

    [Fact]
    public void AccumulatedGradientsAreTheMeanOverTheBatch()
    {
        // Without noise in the inputs' order a batch of 8 and two of 4 see the same pictures.
        float[] Bias(int parts)
        {
            using var task = new TinyTask();
            new Trainer(task, TinyTask.Data(48),
                Small with { Steps = 1, Schedule = "constant", MaxGradNorm = 0, GradientAccumulationSteps = parts }).Run();
            return task.Net.Bias.ToArray();
        }
        float[] one = Bias(1), two = Bias(2);
        for (int i = 0; i < one.Length; i++) Assert.Equal(one[i], two[i], 2e-3f);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TheBestOfEachSelectionIsKept(bool oneSelection)
    {
        using var folder = new TempFolder();
        var weights = new Dictionary<long, float[]>();
        TinyTask? running = null;
        using var task = running = new TinyTask(oneSelection: oneSelection)
        {
            OnStep = step =>
            weights[step] = running!.Net.Weight.ToArray()
        };
        var progress = new ProgressLog();
        TrainResult result = new Trainer(task, TinyTask.Data(),
            Small with { OutputDir = folder.Path, LearningRate = 0.3f, Steps = 30 }).Run(progress);
        var points = History(folder).Where(p => p.Values.ContainsKey("eval/likelihood")).ToArray();
        Assert.Equal(6, points.Length);
        HistoryPoint high = points.MaxBy(p => p.Values["eval/likelihood"])!,
            low = points.MinBy(p => p.Values["eval/likelihood"])!;
        Assert.NotEqual(high.Step, low.Step);
        Assert.Equal(high.Values["eval/likelihood"], result.Best["high"]);
        Assert.Equal(high.Step, progress.Evaluations.Last(e => e.Best.Contains("high")).Step);
        Assert.Equal(weights[high.Step], Weight(folder, oneSelection ? "run-best.safetensors" : "run-best-high.safetensors"));
        if (!oneSelection) Assert.Equal(weights[low.Step], Weight(folder, "run-best-low.safetensors"));
        Assert.Equal(oneSelection ? 1 : 2, Directory.GetFiles(folder.Path, "run-best*").Length);
    }

    [Fact]
    public void WithAveragesTheyAreEvaluatedSavedAndLeftInTheModel()
    {
        using var folder = new TempFolder();
        using var plain = new TinyTask();
        using var averaged = new TinyTask();
        new Trainer(plain, TinyTask.Data(), Small).Run();
        new Trainer(averaged, TinyTask.Data(), Small with { EmaDecay = 0.99, EvalEvery = 0, OutputDir = folder.Path }).Run();
        Assert.NotEqual(plain.Net.Weight.ToArray(), averaged.Net.Weight.ToArray());
        Assert.Equal(averaged.Net.Weight.ToArray(), Weight(folder, "run.safetensors"));
        Assert.Equal(averaged.Net.Weight.ToArray(), Weight(folder, "run-best-high.safetensors"));
        Assert.Equal(plain.Net.Weight.ToArray(), Safetensors.Read(Path.Combine(folder.Path, "run.state"))["model/weight"].Data);
    }

    [Fact]
    public void LogPointsAreMeansOverTheStepsBetween()
    {
        using var folder = new TempFolder();
        using var task = new TinyTask();
        var progress = new ProgressLog();
        new Trainer(task, TinyTask.Data(), Small with { OutputDir = folder.Path }).Run(progress);
        var points = History(folder).Where(p => p.Values.ContainsKey("loss")).ToArray();
        Assert.Equal([5L, 10L, 12L], points.Select(p => p.Step));
        Assert.Equal(progress.Steps.Take(5).Average(s => s.Scalars["loss"]), points[0].Values["loss"], 1e-12);
        Assert.Equal(progress.Steps.Skip(10).Average(s => s.GradientNorm!.Value), points[2].Values["grad-norm"], 1e-12);
        var events = EventReader.Read(Directory.GetFiles(Path.Combine(folder.Path, "events", "run")).Single()).Scalars;
        Assert.Equal(3, events.Count(e => e.Tag == "train/loss"));
        Assert.Equal(3, events.Count(e => e.Tag == "eval/likelihood"));
    }

    [Fact]
    public void ALossThatIsNoNumberStopsTheRun()
    {
        using var folder = new TempFolder();
        using var task = new TinyTask { BrokenStep = 7 };
        var e = Assert.Throws<EspalierException>(() =>
            new Trainer(task, TinyTask.Data(), Small with { OutputDir = folder.Path, CheckpointEvery = 6 }).Run());
        Assert.Contains("step 7: loss is NaN; lower the learning rate (0.03)", e.Message);
        Assert.All(task.Net.Weight.ToArray(), x => Assert.True(float.IsFinite(x)));
        Assert.Equal(6, BitConverter.ToInt64(SafetensorsReader.Open(Path.Combine(folder.Path, "run.state")).ReadBytes("step")));
    }

    /// <summary>Whether clipped together, by groups or not at all: neither weights nor the last state are spoilt.</summary>
    [Theory]
    [InlineData(1f, false)]
    [InlineData(1f, true)]
    [InlineData(0f, false)]
    public void AGradientThatIsNoNumberStopsTheRun(float maxNorm, bool groups)
    {
        using var folder = new TempFolder();
        using var task = new TinyTask { BrokenGradient = 7 };
        TrainOptions options = Small with
        {
            OutputDir = folder.Path, CheckpointEvery = 1, MaxGradNorm = maxNorm, ClipGroups = groups,
        };
        var e = Assert.Throws<EspalierException>(() => new Trainer(task, TinyTask.Data(), options).Run());
        Assert.Contains("step 7: the gradient's norm is NaN", e.Message);
        Assert.All(task.Net.Weight.ToArray(), x => Assert.True(float.IsFinite(x)));
    }

    [Fact]
    public void ASecondProcessIsKeptAway()
    {
        using var folder = new TempFolder();
        using var task = new TinyTask
        {
            OnStep = step =>
            {
                if (step != 1) return;
                using var second = new TinyTask();
                var e = Assert.Throws<EspalierException>(() =>
                    new Trainer(second, TinyTask.Data(), Small with { OutputDir = folder.Path }).Run());
                Assert.Contains("another process is training 'run'", e.Message);
            },
        };
        Assert.True(new Trainer(task, TinyTask.Data(), Small with { OutputDir = folder.Path, Steps = 2 }).Run().Completed);
    }

    [Theory]
    [InlineData("../run")]
    [InlineData("")]
    [InlineData(".run")]
    [InlineData("run\n")]
    public void ANameThatIsNoFileNameIsRefused(string name)
    {
        using var folder = new TempFolder();
        using var task = new TinyTask();
        Assert.Throws<EspalierException>(() =>
            new Trainer(task, TinyTask.Data(), Small with { OutputDir = folder.Path, Name = name }).Run());
    }

    [Fact]
    public void OptionsOutOfRangeAreNamed()
    {
        using var task = new TinyTask();
        string Refused(TrainOptions options, int images = 50) =>
            Assert.Throws<EspalierException>(() => new Trainer(task, TinyTask.Data(images), options)).Message;
        Assert.Contains("BatchSize 8 does not divide into 3", Refused(Small with { GradientAccumulationSteps = 3 }));
        Assert.Contains("Steps is 0", Refused(Small with { Steps = 0 }));
        Assert.Contains("7 images do not fill one batch of 8", Refused(Small, 7));
        Assert.Contains("EmaDecay is 1", Refused(Small with { EmaDecay = 1 }));
    }

    [Fact]
    public void StartingAgainForgetsTheEarlierRun()
    {
        using var folder = new TempFolder();
        using var first = new TinyTask();
        new Trainer(first, TinyTask.Data(), Small with { OutputDir = folder.Path }).Run();
        using var second = new TinyTask();
        var progress = new ProgressLog();
        new Trainer(second, TinyTask.Data(), Small with { OutputDir = folder.Path, LearningRate = 0.1f, Steps = 6 })
            .Run(progress);
        Assert.Contains("replaced", progress.Messages.Single());
        Assert.Equal(6, History(folder).Max(p => p.Step));
    }

    private static IReadOnlyList<HistoryPoint> History(TempFolder folder) =>
        TrainingHistory.Read(Path.Combine(folder.Path, "run.history.jsonl"));

    private static float[] Weight(TempFolder folder, string file) =>
        Safetensors.Read(Path.Combine(folder.Path, file))["weight"].Data;
}
