using Espalier.Data;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Tests.Imaging;
using Espalier.Training;

namespace Espalier.Tests.Training;

/// <summary>A run that was stopped and resumed leaves byte for byte the files of one that was not.</summary>
public sealed class ResumeTests
{
    private static readonly string[] Files =
        ["run.state", "run.safetensors", "run-best-high.safetensors", "run-best-low.safetensors", "run.history.jsonl"];

    public static TrainOptions Options(string variant) => variant switch
    {
        "plain" => new TrainOptions { BatchSize = 8, LogEvery = 4 },
        // 50 pictures in micro-batches of 3: an epoch has 16, of which a step takes 3, and one is left over.
        "accumulation" => new TrainOptions
        {
            BatchSize = 9, GradientAccumulationSteps = 3, LogEvery = 3, Optimizer = "nesterov", WeightDecay = 0.01f,
        },
        "ema" => new TrainOptions
        {
            BatchSize = 8, Optimizer = "adamw", LearningRate = 0.01f, WeightDecay = 0.1f, EmaDecay = 0.9, MaxGradNorm = 0,
        },
        _ => throw new ArgumentOutOfRangeException(nameof(variant)),
    };

    [Theory]
    [InlineData("plain", new[] { 1 })]
    [InlineData("plain", new[] { 6, 12 })]          // 6: an epoch's end
    [InlineData("plain", new[] { 5, 7, 10, 19 })]   // 5, 10: evaluations; 7: a checkpoint
    [InlineData("accumulation", new[] { 4 })]
    [InlineData("accumulation", new[] { 5, 6, 13 })]
    [InlineData("ema", new[] { 1, 9 })]
    [InlineData("ema", new[] { 15 })]
    public void EndsLikeAnUninterruptedRun(string variant, int[] stops)
    {
        using var whole = new TempFolder();
        using var parts = new TempFolder();
        TrainOptions options = Options(variant) with
        {
            Steps = 20,
            EvalEvery = 5,
            CheckpointEvery = 7,
            Name = "run",
            EvalBatchSize = 4
        };
        using var reference = new TinyTask();
        Assert.True(new Trainer(reference, TinyTask.Data(), options with { OutputDir = whole.Path }).Run().Completed);

        options = options with { OutputDir = parts.Path, Resume = true };
        foreach (int stop in stops)
        {
            using var cancel = new CancellationTokenSource();
            using var stopped = new TinyTask { OnStep = step => CancelAt(step, stop, cancel) };
            TrainResult result = new Trainer(stopped, TinyTask.Data(), options).Run(cancel: cancel.Token);
            Assert.Equal((stop, false), (result.Step, result.Completed));
        }
        using var last = new TinyTask();
        Assert.True(new Trainer(last, TinyTask.Data(), options with { DataThreads = 0 }).Run().Completed);

        Assert.Equal(reference.Net.Weight.ToArray(), last.Net.Weight.ToArray());
        AssertSameFiles(whole.Path, parts.Path);
        Assert.Single(Directory.GetFiles(Path.Combine(parts.Path, "events", "run")));
    }

    [Fact]
    public void AnEvaluationThatWasCutShortIsMadeAfterResuming()
    {
        using var folder = new TempFolder();
        TrainOptions options = Options("ema") with
        {
            Steps = 10,
            EvalEvery = 5,
            Name = "run",
            EvalBatchSize = 4,
            OutputDir = folder.Path,
            Resume = true,
        };
        using var cancel = new CancellationTokenSource();
        var progress = new ProgressLog { OnEvaluating = step => CancelAt(step, 5, cancel) };
        using var first = new TinyTask();
        TrainResult result = new Trainer(first, TinyTask.Data(), options).Run(progress, cancel.Token);
        Assert.Equal((5L, false), (result.Step, result.Completed));
        Assert.Empty(progress.Evaluations);

        using var second = new TinyTask();
        progress = new ProgressLog();
        new Trainer(second, TinyTask.Data(), options).Run(progress);
        Assert.Equal([5L, 10L], progress.Evaluations.Select(e => e.Step));
        Assert.Equal(6, progress.Steps[0].Step);
    }

    /// <summary>
    /// Killed at step 9: the newest state is that of step 7, but history, best models and a temporary are newer.
    /// </summary>
    [Fact]
    public void GoesBackToTheLastStateAfterACrash()
    {
        using var whole = new TempFolder();
        using var crashed = new TempFolder();
        TrainOptions options = Options("plain") with
        {
            Steps = 20,
            EvalEvery = 4,
            CheckpointEvery = 7,
            LogEvery = 1,
            Name = "run"
        };
        using var reference = new TinyTask();
        new Trainer(reference, TinyTask.Data(), options with { OutputDir = whole.Path }).Run();

        options = options with { OutputDir = crashed.Path, Resume = true };
        using var broken = new TinyTask { OnStep = step => Assert.True(step != 9, "power cut") };
        Assert.ThrowsAny<Exception>(() => new Trainer(broken, TinyTask.Data(), options).Run());
        File.AppendAllText(Path.Combine(crashed.Path, "run.history.jsonl"), "{\"step\":9,\"lo");
        string half = Path.Combine(crashed.Path, $".run.state.{Guid.NewGuid():N}.tmp");
        string other = Path.Combine(crashed.Path, $".run2.state.{Guid.NewGuid():N}.tmp");
        File.WriteAllBytes(half, File.ReadAllBytes(Path.Combine(crashed.Path, "run.state"))[..100]);
        File.WriteAllText(other, "of another run");

        using var last = new TinyTask();
        var progress = new ProgressLog();
        Assert.True(new Trainer(last, TinyTask.Data(), options).Run(progress).Completed);
        // The state was saved before the evaluation after step 8.
        Assert.Equal(9, progress.Steps[0].Step);
        Assert.False(File.Exists(half));
        Assert.True(File.Exists(other));
        AssertSameFiles(whole.Path, crashed.Path);
    }

    /// <summary>The model is written before the state; a failure there leaves the state of before.</summary>
    [Fact]
    public void AFailedSaveLeavesTheOldState()
    {
        using var folder = new TempFolder();
        TrainOptions options = Options("plain") with { Steps = 20, CheckpointEvery = 3, Name = "run", OutputDir = folder.Path };
        string state = Path.Combine(folder.Path, "run.state"), model = Path.Combine(folder.Path, "run.safetensors");
        byte[] before = [];
        using var task = new TinyTask
        {
            OnStep = step =>
            {
                if (step != 5) return;
                before = File.ReadAllBytes(state);
                File.Delete(model);
                Directory.CreateDirectory(model);
            },
        };
        Assert.Throws<EspalierException>(() => new Trainer(task, TinyTask.Data(), options).Run());
        Assert.Equal(before, File.ReadAllBytes(state));
        Assert.Empty(Directory.GetFiles(folder.Path, "*.tmp"));

        Directory.Delete(model);
        using var resumed = new TinyTask();
        var progress = new ProgressLog();
        Assert.True(new Trainer(resumed, TinyTask.Data(), options with { Resume = true }).Run(progress).Completed);
        Assert.Equal(4, progress.Steps[0].Step);
    }

    [Fact]
    public void ACompletedRunDoesNothingMore()
    {
        using var folder = new TempFolder();
        TrainOptions options = Options("plain") with { Steps = 4, Name = "run", OutputDir = folder.Path, Resume = true };
        using var first = new TinyTask();
        TrainResult done = new Trainer(first, TinyTask.Data(), options).Run();
        using var again = new TinyTask();
        TrainResult result = new Trainer(again, TinyTask.Data(), options).Run();
        Assert.True(result.Completed);
        Assert.Null(result.Evaluation);
        Assert.Empty(again.Indices);
        Assert.Equal(done.Best, result.Best);
        Assert.Equal(first.Net.Weight.ToArray(), again.Net.Weight.ToArray());
    }

    [Fact]
    public void AStateOfAnotherRunIsRefused()
    {
        using var folder = new TempFolder();
        TrainOptions options = Options("plain") with { Steps = 4, Name = "run", OutputDir = folder.Path, Resume = true };
        using var task = new TinyTask();
        new Trainer(task, TinyTask.Data(), options).Run();
        string Refused(TrainOptions with, int classes = 3, int images = 50)
        {
            using var other = new TinyTask(classes);
            string message = Assert.Throws<EspalierException>(() => new Trainer(other, TinyTask.Data(images), with).Run())
                .Message;
            Assert.DoesNotContain('\n', message);
            Assert.Contains("run.state", message);
            return message;
        }
        Assert.Contains("LearningRate was 0.03 and is 0.1 now", Refused(options with { LearningRate = 0.1f }));
        Assert.Contains("Seed was 42 and is 43 now", Refused(options with { Seed = 43 }));
        Assert.Contains("EmaDecay was none and is 0.99 now", Refused(options with { EmaDecay = 0.99 }));
        TrainingData flipped = TinyTask.Data() with
        {
            TrainPipeline = new ImagePipeline(Preprocessing.Half(6, 1), new PadAndCrop(1), new RandomFlip()),
        };
        Assert.Contains("Augmentation was PadAndCrop 1 and is PadAndCrop 1, RandomFlip 0.5 now",
            Assert.Throws<EspalierException>(() => new Trainer(task, flipped, options).Run()).Message);
        Assert.Contains("TrainingData was fake (50 images)", Refused(options, images: 51));
        Assert.Contains("'model/weight' is [3,36] there and [4,36] here", Refused(options, classes: 4));
        File.WriteAllText(Path.Combine(folder.Path, "run.state"), "not a state");
        Refused(options);
        // What does not change the weights may change.
        File.Delete(Path.Combine(folder.Path, "run.state"));
        new Trainer(task, TinyTask.Data(), options).Run();
        new Trainer(task, TinyTask.Data(), options with { EvalEvery = 3, LogEvery = 1, DataThreads = 1 }).Run();
    }

    [Fact]
    public void AnotherOptionOfTheTaskIsRefusedButANewOneIsNot()
    {
        using var folder = new TempFolder();
        TrainOptions options = Options("plain") with { Steps = 4, Name = "run", OutputDir = folder.Path, Resume = true };
        TrainResult Run(params (string, string)[] identity)
        {
            using var task = new TinyTask { Identity = identity };
            return new Trainer(task, TinyTask.Data(), options).Run();
        }
        Run(("Probes", "1"));
        Assert.Contains("Probes was 1 and is 2 now", Assert.Throws<EspalierException>(() => Run(("Probes", "2"))).Message);
        Assert.True(Run(("Probes", "1"), ("Later", "x")).Completed);
    }

    /// <summary>Earlier versions kept the batch norms' counters of batches, which nothing reads.</summary>
    [Fact]
    public void CountersOfBatchesInAStateArePassedOver()
    {
        using var folder = new TempFolder();
        TrainOptions options = Options("ema") with { Steps = 6, Name = "run", OutputDir = folder.Path, Resume = true };
        string path = Path.Combine(folder.Path, "run.state");
        using (var cancel = new CancellationTokenSource())
        {
            using var first = new TinyTask { OnStep = step => CancelAt(step, 3, cancel) };
            new Trainer(first, TinyTask.Data(), options).Run(cancel: cancel.Token);
        }
        List<SafetensorsEntry> entries = [];
        Dictionary<string, string> metadata;
        using (SafetensorsReader state = SafetensorsReader.Open(path))
        {
            metadata = new(state.Metadata);
            foreach (SafetensorsInfo info in state.Entries.Values)
                entries.Add(info.Type == ElementType.F32 ? Floats(state, info) : info.Type == ElementType.U8
                    ? SafetensorsEntry.FromBytes(info.Name, state.ReadBytes(info.Name))
                    : SafetensorsEntry.FromLongs(info.Name, state.ReadLongs(info.Name)));
        }
        foreach (string section in new[] { "model", "ema" })
            entries.Add(SafetensorsEntry.FromFloats($"{section}/bn1.num_batches_tracked", [], new float[] { 3 }));
        Safetensors.Write(path, entries, metadata);
        using var second = new TinyTask();
        var progress = new ProgressLog();
        Assert.True(new Trainer(second, TinyTask.Data(), options).Run(progress).Completed);
        Assert.Equal(4, progress.Steps[0].Step);

        static SafetensorsEntry Floats(SafetensorsReader state, SafetensorsInfo info)
        {
            var values = new float[info.Count];
            state.ReadFloats(info.Name, values);
            return SafetensorsEntry.FromFloats(info.Name, info.Shape, values);
        }
    }

    private static void CancelAt(long step, long stop, CancellationTokenSource cancel)
    {
        if (step == stop) cancel.Cancel();
    }

    private static void AssertSameFiles(string expected, string actual)
    {
        foreach (string file in Files)
        {
            byte[] one = File.ReadAllBytes(Path.Combine(expected, file)), two = File.ReadAllBytes(Path.Combine(actual, file));
            Assert.True(one.AsSpan().SequenceEqual(two), $"{file} differs");
        }
        Assert.Equal(Events(expected), Events(actual));
    }

    private static List<(string, float, long)> Events(string folder) =>
    [
        .. Directory.GetFiles(Path.Combine(folder, "events", "run"))
            .SelectMany(f => Espalier.Formats.EventReader.Read(f).Scalars).Select(e => (e.Tag, e.Value, e.Step)),
    ];
}
