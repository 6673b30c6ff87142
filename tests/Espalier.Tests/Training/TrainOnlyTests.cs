using Espalier.Compression;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tests.Compression;
using Espalier.Training;

namespace Espalier.Tests.Training;

/// <summary>Training of chosen layers: the others stay as they are, bit for bit.</summary>
public sealed class TrainOnlyTests
{
    [Theory]
    [InlineData("sgd", null, "layer3*", "linear")]
    [InlineData("adamw", 0.9, "layer2.?.conv1.weight")]
    [InlineData("ranger", null, "*.bn2")]
    [InlineData("lookahead", 0.5, "linear.bias")]
    public void OnlyWhatIsNamedMoves(string optimizer, double? ema, params string[] patterns)
    {
        using Model net = Model.FromModule(CompressionJobs.Net("resnet20"));
        Dictionary<string, float[]> before = Values(net);
        var task = new ClassifierTask(net, new ClassifierTaskOptions());
        Run(task, new TrainOptions { Optimizer = optimizer, EmaDecay = ema, WeightDecay = 0.1f, TrainOnly = patterns });
        Assert.DoesNotContain(net.Graph.Parameters, p => p.Name.Contains("running"));
        Assert.Equal(before.Keys.Count(n => !n.Contains("running")), net.Graph.Parameters.Count());
        foreach (var (name, values) in Values(net))
        {
            string layer = name[..name.LastIndexOf('.')];
            bool isNamed = patterns.Any(p => System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(p, name)
                || System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(p, layer));
            // A norm's statistics follow where its scale and shift are trained.
            bool moves = isNamed && (name.Contains("running")
                ? patterns.Any(p => !p.EndsWith("weight", StringComparison.Ordinal)) : true);
            Assert.True(moves != before[name].SequenceEqual(values), $"{name} {(moves ? "did not move" : "moved")}");
        }
        Run(task, new TrainOptions());
        Assert.All(Values(net), v => Assert.NotEqual(before[v.Key], v.Value));
    }

    [Fact]
    public void TwoWordsAboutWhatIsTrainedAreRefused()
    {
        using Model net = Model.FromModule(CompressionJobs.Net("resnet20"));
        var e = Assert.Throws<EspalierException>(() => Run(new ClassifierTask(net, new ClassifierTaskOptions()),
            new TrainOptions { TrainOnly = ["layer3*"], FreezeSteps = 1, FreezeExcept = ["linear*"] }));
        Assert.Contains("FreezeSteps and TrainOnly", e.Message);
    }

    /// <summary>Gradients of what is not trained need not be computed, and where they are, nobody sees them.</summary>
    [Fact]
    public void SkippedAndComputedGradientsTrainAlike()
    {
        float[][] weights = [.. new[] { true, false }.Select(skip =>
        {
            using Model net = Model.FromModule(CompressionJobs.Net("resnet20"));
            Run(new Watched(net, skip), new TrainOptions { MaxGradNorm = 0.1f, TrainOnly = ["layer3*", "linear*"] });
            return net.Graph.Parameters.SelectMany(p => p.Value.ToArray()).ToArray();
        })];
        Assert.Equal(weights[0], weights[1]);
    }

    [Theory]
    [InlineData("layer9*", "layer9*")]
    [InlineData("conv", "'conv'")]
    public void APatternThatFitsNothingIsRefused(string pattern, string expected)
    {
        using Cnn net = CompressionJobs.Net("resnet20");
        var training = new TrainOptions { BatchSize = 16, DataThreads = 0, TrainOnly = ["linear*", pattern] };
        var task = new ClassifierTask(Model.FromModule(net), new ClassifierTaskOptions());
        string message = Assert.Throws<EspalierException>(() => Run(task, training)).Message;
        Assert.Contains(expected, message);
        Assert.DoesNotContain('\n', message);
        CompressionJob job = CompressionJobs.Job(net, CompressionMethods.Get("l1") with { Training = training });
        Assert.Equal(message, Assert.Throws<EspalierException>(job.Run).Message);
        Assert.Empty(job.Removals);
    }

    [Fact]
    public void AMethodThatDrawsWeightsAnewTrainsAllOfThem()
    {
        using Cnn net = CompressionJobs.Net("resnet20");
        Assert.Contains("TrainOnly", Assert.Throws<EspalierException>(CompressionJobs.Job(net, CompressionMethods.Get("repr") with
        {
            TrainSteps = 10, Training = new() { TrainOnly = ["linear*"] },
        }).Run).Message);
    }

    /// <summary>Fine-tuning after a removal moves what is named only; what stays of the other layers is what was there.</summary>
    [Fact]
    public void CompressionFineTunesWhatIsNamed()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11"), cut = CompressionJobs.Net("cifar-vgg11");
        CompressionMethod method = CompressionMethods.Get("l1") with
        {
            Ratio = 0.25, Training = new() { TrainOnly = ["classifier*"] },
        };
        CompressionJobs.Job(cut, method).Run();
        CompressionJobs.Job(net, method with { FineTuneSteps = 3 }).Run();
        Dictionary<string, float[]> whole = Values(cut);
        Assert.All(Values(net), v =>
            Assert.True(v.Key.StartsWith("classifier", StringComparison.Ordinal) != whole[v.Key].SequenceEqual(v.Value), v.Key));
    }

    /// <summary>What was held still is no buffer of a file: whoever goes on from it trains all.</summary>
    [Fact]
    public void FilesKnowAllParameters()
    {
        string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;
        try
        {
            using Model net = Model.FromModule(CompressionJobs.Net("resnet20"));
            string[] all = [.. net.Graph.Parameters.Select(p => p.Name)];
            Run(new ClassifierTask(net, new ClassifierTaskOptions()),
                new TrainOptions { TrainOnly = ["linear*"], OutputDir = folder, Name = "head" });
            string[] files = Directory.GetFiles(folder, "*.safetensors");
            Assert.Equal(2, files.Length);
            foreach (string file in files)
            {
                using Model read = Model.Open(file);
                Assert.Equal(all, read.Graph.Parameters.Select(p => p.Name));
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>A run that cannot begin leaves the network as it was.</summary>
    [Fact]
    public void ARunThatCannotBeginHoldsNothingStill()
    {
        using Model net = Model.FromModule(CompressionJobs.Net("resnet20"));
        int all = net.Graph.Parameters.Count();
        Assert.Throws<EspalierException>(() => Run(new ClassifierTask(net, new ClassifierTaskOptions()),
            new TrainOptions { TrainOnly = ["linear*"], OutputDir = "nowhere", Name = "my/run" }));
        Assert.Equal(all, net.Graph.Parameters.Count());
    }

    private static void Run(ITrainingTask task, TrainOptions options) => new Trainer(task, CompressionJobs.Data(16),
        options with { Steps = 5, BatchSize = 16, DataThreads = 0, EvalEvery = 0, WarmupSteps = 0 }).Run();

    private static Dictionary<string, float[]> Values(Model net) =>
        net.Graph.Weights.ToDictionary(w => w.Key, w => w.Value.Tensor.ToArray());

    private static Dictionary<string, float[]> Values(Cnn net) =>
        net.Trace().ReadWeights().ToDictionary(w => w.Name, w => w.Tensor.ToArray());

    /// <summary>Plain training that says itself whether it can do without gradients.</summary>
    private sealed class Watched(Model net, bool skips) : ITrainingTask
    {
        private readonly ClassifierTask task = new(net, new ClassifierTaskOptions());

        public Graph Graph => task.Graph;

        public bool SkipsUntrained => skips;

        public IReadOnlyDictionary<string, double> Step(Espalier.Data.Batch batch, in StepContext context)
        {
            IReadOnlyDictionary<string, double> result = task.Step(batch, context);
            Assert.Equal(skips, net.Graph.Weights.First().Value.Tensor.Grad is null);
            return result;
        }

        public EvaluationResult Evaluate(IEnumerable<Espalier.Data.Batch> batches) => task.Evaluate(batches);

        public void SaveModel(string path) => task.SaveModel(path);
    }
}
