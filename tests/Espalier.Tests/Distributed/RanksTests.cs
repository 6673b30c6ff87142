using Espalier.Data;
using Espalier.Distributed;
using Espalier.Imaging;
using Espalier.Tensors;
using Espalier.Tests.Data;
using Espalier.Tests.Imaging;
using Espalier.Training;

namespace Espalier.Tests.Distributed;

/// <summary>Training in several processes is training in one with as many micro-batches.</summary>
public sealed class RanksTests
{
    internal static readonly TrainOptions Options = new()
    {
        Steps = 5, BatchSize = 8, EvalBatchSize = 8, EvalEvery = 0, LogEvery = 1, Name = "run",
    };

    /// <summary>38 images are 4 steps of 8 in an epoch, and some are left over; in each step two ranks have two micro-batches each.
    /// </summary>
    [Theory]
    [InlineData("resnet20", 2, 1)]
    [InlineData("vit-tiny-28", 2, 1)]
    [InlineData("vit-tiny-28", 2, 2)]
    [InlineData("vit-tiny-28", 4, 1)]
    public void TheSumOfRanksIsOneProcess(string network, int count, int accumulation)
    {
        TrainOptions options = Options with { GradientAccumulationSteps = accumulation };
        using Model one = New(network);
        var log = new Log();
        Train(one, Plain(one), options with { GradientAccumulationSteps = count * accumulation }, log);
        var logs = new Log[count];
        Model[] ranks = MemoryRanks.Run(count, r =>
        {
            Model own = New(network, seed: 1 + (ulong)r.Rank);     // the first one's weights are everybody's
            Train(own, Plain(own), options with { Ranks = r }, logs[r.Rank] = new Log());
            return own;
        });
        AssertSame(one, ranks[0], 2e-5f, statistics: false);
        foreach (Model other in ranks.Skip(1)) AssertSame(ranks[0], other, 0, statistics: true);
        for (int i = 0; i < log.Losses.Count; i++) Assert.Equal(log.Losses[i], logs[0].Losses[i], 1e-4);
        Assert.Empty(logs[1].Losses);
        foreach (Model m in ranks) m.Dispose();
    }

    /// <summary>One rank hears the signal first; both end after the same step, and go on from there as if nothing had been.</summary>
    [Fact]
    public void RanksStopTogetherAndGoOn()
    {
        using var folder = new TempFolder();
        using var whole = new TempFolder();
        TrainOptions options = Options with { CheckpointEvery = 1 };
        MemoryRanks.Run(2, r => Done(r, whole.Path, null));
        var stopped = MemoryRanks.Run(2, r => Done(r, folder.Path, r.Rank == 1 ? 3 : null));
        Assert.All(stopped, s => Assert.Equal((3, false), (s.Step, s.Completed)));
        var ended = MemoryRanks.Run(2, r => Done(r, folder.Path, null));
        Assert.All(ended, s => Assert.Equal((5, true), (s.Step, s.Completed)));
        foreach (string file in new[] { "run.safetensors", "run.state" })
            Assert.Equal(File.ReadAllBytes(Path.Combine(whole.Path, file)), File.ReadAllBytes(Path.Combine(folder.Path, file)));

        TrainResult Done(IRanks r, string path, int? stop)
        {
            using var cancel = new CancellationTokenSource();
            using Model own = New("vit-tiny-28");
            var task = new Stopping(Plain(own), step => { if (step == stop) cancel.Cancel(); });
            return new Trainer(task, Data(), options with { Ranks = r, OutputDir = path, Resume = true }).Run(cancel: cancel.Token);
        }
    }

    [Fact]
    public void ABatchThatDoesNotDivideIsRefused()
    {
        var e = Assert.Throws<EspalierException>(() => MemoryRanks.Run(3, r => new Trainer(null!, Data(), Options with { Ranks = r })));
        Assert.Contains("BatchSize 8 does not divide into 3 micro-batches, for 3 processes", e.Message);
    }

    [Fact]
    public void OtherNetworksAreRefused()
    {
        var e = Assert.Throws<EspalierException>(() => MemoryRanks.Run(2, r =>
        {
            using Model own = New(r.Rank == 0 ? "vit-tiny-28" : "resnet20");
            Train(own, Plain(own), Options with { Ranks = r }, new Log());
            return 0;
        }));
        Assert.Contains("different networks", e.Message);
    }

    internal static Model New(string network, ulong seed = 1) =>
        Model.Create(network, 3, 1, imageSize: 28, seed, width: network == "resnet20" ? 0.25 : 1);

    private static ClassifierTask Plain(Model model) => new(model, new ClassifierTaskOptions());

    private static TrainingData Data() => new(new FakeDataset(38), ImagePipeline.Eval(28, 1), new FakeDataset(8), ImagePipeline.Eval(28, 1));

    internal static void Train(Model model, ITrainingTask task, TrainOptions options, ITrainingProgress? progress = null)
    {
        model.Card = model.Card with { Preprocessing = Preprocessing.Half(28, 1) };
        new Trainer(task, Data(), options).Run(progress);
    }

    internal static void AssertSame(Model a, Model b, float tolerance, bool statistics)
    {
        foreach (var (name, weight) in a.Graph.Weights)
        {
            if (!statistics && name.Contains("running_", StringComparison.Ordinal)) continue;
            float[] x = weight.Tensor.ToArray(), y = b.Graph.Weights[name].Tensor.ToArray();
            for (int i = 0; i < x.Length; i++) Assert.Equal(x[i], y[i], tolerance);
        }
    }

    private sealed class Log : ITrainingProgress
    {
        public List<double> Losses { get; } = [];

        public void Step(StepInfo info) => Losses.Add(info.Scalars["loss"]);

        public void Evaluating(long step, int batch, int batches) { }

        public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest) { }

        public void Message(string text) { }
    }

    /// <summary>Says which step has been done.</summary>
    private sealed class Stopping(ITrainingTask task, Action<int> done) : ITrainingTask
    {
        public Graph Graph => task.Graph;

        public IReadOnlyDictionary<string, double> Step(Batch batch, in StepContext context) => task.Step(batch, context);

        public void AfterStep(long step) => done((int)step);

        public EvaluationResult Evaluate(IEnumerable<Batch> batches) => task.Evaluate(batches);

        public void SaveModel(string path) => task.SaveModel(path);
    }
}
