using Espalier.Compression.Methods.RePr;
using Espalier.Compression;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class RePrTests
{
    [Theory]
    [InlineData("vanilla-c3", 0.5, ReprRank.FanIn, false)]
    [InlineData("cifar-vgg11", 0.125, ReprRank.Layer, true)]
    [InlineData("resnet20", 0.5, ReprRank.Global, true)]
    [InlineData("preresnet20", 0.5, ReprRank.FanIn, true)]
    [InlineData("densenet121", 0.125, ReprRank.Layer, false)]
    [InlineData("mobilenet_v2", 0.25, ReprRank.FanIn, false)]
    public void StoppedThinItRemovesWhatItDropped(string network, double width, ReprRank rank, bool byFlops)
    {
        using Cnn net = CompressionJobs.Net(network, network is "mobilenet_v2" or "densenet121" ? 32 : 16, width);
        long before = net.ParameterCount;
        CompressionJob job = Job(net, new RePr
        {
            Selection = byFlops ? new() { TargetFlops = 0.6 } : new() { Ratio = 0.3 }, TrainSteps = 6, FineTuneSteps = 1,
            Training = new() { LearningRate = 1e-3f }, First = 1, Thin = 1, Cycles = 2, Rank = rank,
        });
        job.Run();
        RemovalReport report = Assert.Single(job.Removals);
        Assert.True(net.ParameterCount < 0.95 * before, $"{before} -> {net.ParameterCount} parameters");
        Assert.True(report.Difference < 1e-4f, $"differs by {report.Difference}");
        if (byFlops) Assert.InRange((double)report.Summary.MultiplyAddsAfter / report.Summary.MultiplyAddsBefore, 0.3, 0.6);
    }

    /// <summary>Stopped while filters are away for good, in layers whose names are not in the order of the network; and after a restore.
    /// </summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void StoppedAndResumedItEndsAlike(int cycles)
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model("cifar-vgg11", 16, width: 0.125), new RePr
        {
            Selection = new() { Ratio = 0.3 }, TrainSteps = 2 + cycles, FineTuneSteps = 1, Training = new() { LearningRate = 1e-3f },
            First = 1, Thin = 1, Cycles = cycles,
        });
        Assert.Equal(whole.Keys, resumed.Keys);
        Assert.All(whole, w => Assert.Equal(w.Value, resumed[w.Key]));
    }

    [Theory]
    [InlineData("vanilla-c3", false)]
    [InlineData("resnet20", true)]
    public void RunToTheEndTheNetworkIsWholeAgain(string network, bool branches)
    {
        using Cnn net = CompressionJobs.Net(network);
        Shape[] shapes = [.. net.StateDict().Select(s => s.Value.Shape)];
        var log = new LogLines();
        var repr = new RePr
        {
            TrainSteps = 7, Training = new() { LearningRate = 1e-3f }, First = 2, Thin = 1, EndThin = false, Branches = branches,
            Cycles = 0,
        };
        CompressionJob job = Job(net, repr, log);
        Assert.False(repr.Removes);
        job.Run();
        Assert.Empty(job.Removals);
        Assert.Equal(shapes, net.StateDict().Select(s => s.Value.Shape));
        foreach (var (name, weight) in net.NamedParameters().Where(p => p.Value.Rank == 4))
            for (int row = 0; row < weight.Shape[0]; row++) Assert.True(FilterWeights.Row(weight, row).ContainsAnyExcept(0), name);
        Assert.Contains(log.Lines, l => l.StartsWith("step 2: dropped", StringComparison.Ordinal) && l.Contains("without these"));
        Assert.Contains(log.Lines, l => l.StartsWith("step 5: dropped", StringComparison.Ordinal)
            && l.Contains("gradients of restored filters") && l.Contains("without those of the drop before"));
        Assert.Contains(log.Lines, l => l.StartsWith("step 7: gradients", StringComparison.Ordinal));
    }

    [Fact]
    public void WithoutTrainingItPrunesByOverlapAtOnce()
    {
        using Cnn net = CompressionJobs.Net("vanilla-c3");
        CompressionJob job = Job(net, new RePr { Ratio = 0.25, Rank = ReprRank.Layer });
        using DependencyGraph graph = job.Graph();
        int[][] expected = DropRule.Choose([.. graph.Groups.Select(g => FilterOverlap.Of(g, 0))], 0.25, global: false,
            DropRule.Fewest);
        job.Run();
        Assert.Equal(expected, graph.Groups.Select(g => job.LastPlan!.Channels[g.Name]));
    }

    /// <summary>With fan-in 9 in the first layer and 144 in the others, the plain measure takes the first and the scaled one not.</summary>
    [Fact]
    public void FanInKeepsTheFirstLayerFromBeingWiped()
    {
        using Cnn net = CompressionJobs.Net("vanilla-c3", width: 0.5);
        using DependencyGraph graph = CompressionJobs.Job(net, new CompressionOptions()).Graph();
        Assert.Equal(16, graph.Groups[0].Count);
        Assert.Equal(14, First(alpha: 0));                          // all but the tenth that must stay
        Assert.InRange(First(alpha: 0.5), 0, 9);

        int First(double alpha) => DropRule.Choose([.. graph.Groups.Select(g => FilterOverlap.Of(g, alpha))], 0.3, global: true,
            DropRule.Fewest)[0].Length;
    }

    [Fact]
    public void TheFirstConvolutionCanBeLeftOut()
    {
        using Cnn net = CompressionJobs.Net("vanilla-c3");
        using DependencyGraph graph = CompressionJobs.Job(net, new CompressionOptions()).Graph();
        var selection = new SelectionOptions { Ratio = 0.3 };
        Assert.Equal(["features.0", "features.2", "features.4"], Names(ReprLayers.Find(graph, selection, false, false)));
        Assert.Equal(["features.2", "features.4"], Names(ReprLayers.Find(graph, selection, false, true)));
    }

    /// <summary>The first convolutions of nine blocks, and with branches the second ones; the stem is no branch.</summary>
    [Fact]
    public void BranchesAreLayersOfTheirOwn()
    {
        using Cnn net = CompressionJobs.Net("resnet20");
        using DependencyGraph graph = CompressionJobs.Job(net, new CompressionOptions()).Graph();
        var selection = new SelectionOptions { Ratio = 0.3 };
        Assert.Equal(9, ReprLayers.Find(graph, selection, false, false).Count);
        IReadOnlyList<ChannelGroup> all = ReprLayers.Find(graph, selection, true, false);
        Assert.Equal(Enumerable.Range(0, 18).Select(i => $"layer{i / 6 + 1}.{i / 2 % 3}.conv{i % 2 + 1}"), Names(all));
        Assert.Equal(16, ReprLayers.Find(graph, selection with { Keep = ["layer1.0.*"] }, true, false).Count);
        ChannelGroup branch = all.Single(g => g.Name == "layer1.0.conv2");
        Assert.Equal(["layer1.0.conv2.weight", "layer1.0.bn2.weight", "layer1.0.bn2.bias", "layer1.0.bn2.running_mean",
            "layer1.0.bn2.running_var"], branch.Slices.Select(s => s.Name));
    }

    [Theory]
    [InlineData("drop", "1.5", "drop")]
    [InlineData("rank", "magic", "rank")]
    [InlineData("first", "100", "no cycle")]
    [InlineData("branches", "yes", "end=full")]
    public void ImpossibleSettingsAreOneLine(string name, string value, string expected)
    {
        using Cnn net = CompressionJobs.Net("vanilla-c3");
        var repr = new RePr { TrainSteps = 10 };
        string message = Assert.Throws<EspalierException>(() => Job(net, repr.Set(name, value)).Run()).Message;
        Assert.Contains(expected, message);
        Assert.DoesNotContain('\n', message);
    }

    /// <summary>Lists choose among the maps of a dense block: whoever makes them keeps them.</summary>
    [Fact]
    public void WhereFiltersMustStayTheReasonIsSaid()
    {
        using Cnn net = CompressionJobs.Net("densenet40", width: 0.5);
        CompressionJob job = Job(net, new RePr { TrainSteps = 10 });
        string message = Assert.Throws<EspalierException>(job.Run).Message;
        Assert.Contains("must stay", message);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void AThresholdIsRefused()
    {
        using Cnn net = CompressionJobs.Net("vanilla-c3");
        CompressionJob job = Job(net, new RePr { Selection = new() { Threshold = 1 } });
        Assert.Contains("ratio", Assert.Throws<EspalierException>(job.Run).Message);
    }

    private static string[] Names(IReadOnlyList<ChannelGroup> layers) => [.. layers.Select(g => g.Name)];

    private static CompressionJob Job(Cnn net, CompressionMethod repr, ITrainingProgress? progress = null) =>
        new(Model.FromModule(net), CompressionJobs.Data(net.ImageSize), repr with
        {
            Training = repr.Training with { BatchSize = 16, DataThreads = 0 }, RankBatches = 2,
        }, progress);

    private sealed class LogLines : ITrainingProgress
    {
        public List<string> Lines { get; } = [];

        public void Step(StepInfo info) { }

        public void Evaluating(long step, int batch, int batches) { }

        public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest) { }

        public void Message(string text) => Lines.Add(text);
    }
}

public sealed class ReprScheduleTests
{
    [Theory]
    [InlineData(150, 0, true, "20 50 80 110 140", "30 60 90 120")]
    [InlineData(150, 0, false, "20 50 80 110", "30 60 90 120")]
    [InlineData(100, 0, false, "20 50 80", "30 60 90")]
    [InlineData(100, 0, true, "20 50 80", "30 60")]
    [InlineData(150, 3, false, "20 50 80", "30 60 90")]
    [InlineData(150, 1, true, "20", "")]
    [InlineData(30, 0, false, "", "")]
    [InlineData(30, 0, true, "20", "")]
    [InlineData(20, 0, true, "", "")]
    public void DropsAndRestoresInTurn(long steps, int cycles, bool endThin, string drops, string restores)
    {
        var schedule = new ReprSchedule(steps, first: 20, thin: 10, cycles, endThin);
        Assert.Equal(drops, string.Join(" ", schedule.Drops));
        Assert.Equal(restores, string.Join(" ", schedule.Restores));
    }
}
