using System.Text.Json;
using Espalier.Compression;
using Espalier.Compression.Methods.NVit;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class NVitTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-nvit-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData("", 0.5, null, 6)]
    [InlineData("every=2,chunks=3", 0.6, null, 6)]
    [InlineData("every=1", null, 0.4, 5)]
    [InlineData("shape=revit", 0.4, null, 4)]
    [InlineData("", 0.5, null, 0)]
    public void Reaches_its_target(string settings, double? flops, double? ratio, long steps)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        CompressionJob job = Job(model, settings + ",eta=0", new SelectionOptions { TargetFlops = flops, Ratio = ratio }, steps);
        job.Run();
        RemovalReport report = Assert.Single(job.Removals);
        Assert.InRange(report.Difference, 0, 1e-4f);
        double left = (double)report.Summary.MultiplyAddsAfter / report.Summary.MultiplyAddsBefore;
        if (flops is { } target) Assert.InRange(left, target - 0.15, target);
        else Assert.InRange(job.LastPlan!.Count, 0.4 * 74, 0.4 * 74 + 3);
        Assert.Equal(steps > 0 ? 2 : 1, job.Stages.Count);
        string onnx = Path.Combine(folder, "small.onnx");
        model.ExportOnnx(onnx);
        using Model read = Model.Open(onnx);
        using var scope = new Scope();
        Tensor images = job.Example(4);
        float[] expected = model.Graph.Run(images).ToArray();
        Assert.InRange(Removal.Difference(expected, read.Graph.Run(images).ToArray()), 0, 1e-4f);
        float[] there = OnnxRuntime.Floats(OnnxRuntime.Run(onnx, images.Span, images.Shape[0])["logits"]);
        Assert.InRange(Removal.Difference(expected, there), 0, 1e-4f);
    }

    [Fact]
    public void Only_the_named_kinds_go()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        CompressionJob job = Job(model, "eta=0", new SelectionOptions
        {
            TargetFlops = 0.7, Groups = ChannelKind.Hidden | ChannelKind.QueryKey, Keep = ["*layer.1.ffn*"],
        }, 2);
        job.Run();
        Assert.Equal(12, model.Graph["transformer.embeddings.position_embeddings"].Shape[2]);
        Assert.Equal(20, model.Graph["transformer.encoder.layer.1.ffn.fc1.weight"].Shape[0]);
        Assert.All(TransformerBlocks.Of(model.Graph).Blocks, b => Assert.Equal(3, b.Heads.Count));
        Assert.True(model.Graph["transformer.encoder.layer.0.ffn.fc1.weight"].Shape[0] < 20);
    }

    /// <summary>By times of a file in which attention alone takes any: the target is met by them, and by fewer units where scores
    /// know of it.</summary>
    [Fact]
    public void Time_is_a_target_and_has_a_say_in_scores()
    {
        string measured = Path.Combine(folder, "m", "nvit-times.json");
        using (Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8))
            Job(model, "eta=0.01", new SelectionOptions { TargetFlops = 0.5 }, 1, Path.GetDirectoryName(measured)).Run();
        var times = JsonSerializer.Deserialize<Dictionary<string, double[][]>>(File.ReadAllText(measured))!;
        foreach (var (name, points) in times)
            foreach (double[] p in points)
            {
                p[4] = name.EndsWith(" layers", StringComparison.Ordinal) ? 1e-9 * p[1]
                    : name.Contains("attention", StringComparison.Ordinal) ? 1e-6 * (p[2] + p[3]) : 1e-9;
            }
        int[] gone = [.. new[] { "eta=0", "eta=1" }.Select(eta =>
        {
            string there = Directory.CreateDirectory(Path.Combine(folder, eta)).FullName;
            string table = Path.Combine(there, "nvit-times.json");
            File.WriteAllText(table, JsonSerializer.Serialize(times));
            using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
            using Model whole = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
            CompressionJob job = Job(model, eta, new SelectionOptions { TargetTime = 0.6 }, 2, there);
            job.Run();
            using var scope = new Scope();
            using DependencyGraph graph = DependencyGraph.Build(whole.Graph, job.Example(2), HeadView.Heads, HeadView.AllHeads);
            var predicted = new NetworkTimes(graph, TimeTable.Open(table), []);
            Assert.InRange(predicted.Of(job.LastPlan) / predicted.Of(), 0.3, 0.6);
            return job.LastPlan!.Count;
        })];
        Assert.True(gone[1] < gone[0], $"{gone[1]} and {gone[0]} units");
    }

    /// <summary>The times of the first run stay those of the run that goes on; the end is the same each time.</summary>
    [Theory]
    [InlineData("eta=0")]
    [InlineData("eta=0.01")]
    public void Goes_on_where_it_stopped(string settings)
    {
        string stopped = Path.Combine(folder, "a"), copy = Path.Combine(folder, "b"), whole = Path.Combine(folder, "c");
        var selection = new SelectionOptions { TargetFlops = 0.5 };
        using var cancel = new CancellationTokenSource();
        using (Model first = CompressionJobs.Model(CompressionJobs.TinyVit, 8))
            Assert.ThrowsAny<OperationCanceledException>(
                () => Job(first, settings, selection, 8, stopped, new Stopper(cancel, 5), cancel.Token).Run());
        Directory.CreateDirectory(copy);
        foreach (string file in Directory.GetFiles(stopped)) File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        // From the beginning, with the times of the run that was stopped.
        Directory.CreateDirectory(whole);
        foreach (string file in Directory.GetFiles(stopped, "*times*"))
            File.Copy(file, Path.Combine(whole, Path.GetFileName(file)));
        Assert.Equal(settings != "eta=0", File.Exists(Path.Combine(whole, "nvit-times.json")));
        float[][] ends = [.. new[] { stopped, copy, whole }.Select(where =>
        {
            using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
            Job(model, settings, selection, 8, where).Run();
            return model.Graph.Parameters.SelectMany(p => p.Value.ToArray()).ToArray();
        })];
        Assert.Equal(ends[0], ends[1]);
        Assert.Equal(ends[2], ends[0]);
    }

    [Theory]
    [InlineData("resnet20", "eta=0", 0.5, "no vision transformer")]
    [InlineData(CompressionJobs.TinyVit, "eta=0", 0.01, "no widths reach 0.01")]
    [InlineData(CompressionJobs.TinyVit, "eta=0,shape=revit", 0.01, "no widths reach 0.01")]
    public void Refuses_what_cannot_be_before_the_first_step(string network, string settings, double flops, string message)
    {
        using Model model = CompressionJobs.Model(network, network == CompressionJobs.TinyVit ? 8 : 16);
        CompressionJob job = Job(model, settings, new SelectionOptions { TargetFlops = flops }, 2);
        string said = Assert.Throws<EspalierException>(job.Run).Message;
        Assert.Contains(message, said, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', said);
        Assert.Empty(job.Stages);
    }

    [Fact]
    public void Refuses_options_that_would_do_nothing()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        foreach (var (method, message) in new (NVit, string)[]
        {
            (new NVit { Rounds = 2 }, "Rounds is 2"),
            (new NVit { RankBatches = 0 }, "RankBatches is 0"),
            (new NVit { Training = new TrainOptions { TrainOnly = ["head"] } }, "TrainOnly"),
            (new NVit { Selection = new SelectionOptions { Threshold = 1 } }, "Threshold"),
            (new NVit { Selection = new SelectionOptions { TargetFlops = 0.5, RoundTo = 8 } }, "RoundTo"),
            (new NVit { Selection = new SelectionOptions { TargetFlops = 0.5, UnequalHeads = true } }, "UnequalHeads"),
            (new NVit { Selection = new SelectionOptions { TargetFlops = 0.5, Global = true, Isomorphic = true } }, "Isomorphic"),
        })
        {
            CompressionJob job = CompressionJobs.Job(model, method with { Eta = 0 });
            Assert.Contains(message, Assert.Throws<EspalierException>(job.Run).Message, StringComparison.Ordinal);
        }
    }

    private static CompressionJob Job(Model model, string settings, SelectionOptions selection, long steps, string? folder = null,
        ITrainingProgress? progress = null, CancellationToken cancel = default)
    {
        CompressionMethod method = new NVit();
        foreach (string setting in settings.Split(',', StringSplitOptions.RemoveEmptyEntries))
            method = method.Set(setting.Split('=')[0], setting.Split('=')[1]);
        return new CompressionJob(model, CompressionJobs.Data(model.ImageSize), method with
        {
            Selection = selection, TrainSteps = steps, FineTuneSteps = 1, RankBatches = 2,
            Training = new TrainOptions
            {
                BatchSize = 16, DataThreads = 0, LearningRate = 0.01f, OutputDir = folder, Resume = folder is not null,
                CheckpointEvery = 2,
            },
        }, progress, cancel);
    }

    /// <summary>Stops the run after a step.</summary>
    private sealed class Stopper(CancellationTokenSource cancel, long at) : ITrainingProgress
    {
        public void Step(StepInfo info)
        {
            if (info.Step == at) cancel.Cancel();
        }

        public void Evaluating(long step, int batch, int batches) { }

        public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest) { }

        public void Message(string text) { }
    }
}
