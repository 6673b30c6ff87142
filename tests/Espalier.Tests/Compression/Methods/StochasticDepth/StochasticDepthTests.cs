using Espalier.Compression;
using Espalier.Compression.Methods.StochasticDepth;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

public sealed class StochasticDepthTests
{
    [Theory]
    [InlineData("resnet20", 16, "rule=linear,survival=0.5")]
    [InlineData("resnet20", 16, "rule=uniform,granularity=sample,freeze-skipped=yes,criterion=scale")]
    [InlineData("resnet18", 32, "rule=ramp,scaling=inverted")]
    [InlineData("mobilenet_v2", 32, "")]
    [InlineData("preresnet164", 16, "criterion=scale")]
    [InlineData(CompressionJobs.TinyVit, 8, "survival=0.5")]
    [InlineData(CompressionJobs.TinyVit, 8, "granularity=sample,scaling=inverted,criterion=scale")]
    [InlineData(CompressionJobs.TinyHybrid, 32, "rule=uniform")]
    public void TrainsAndRemovesBlocks(string network, int size, string settings)
    {
        using Model model = CompressionJobs.Model(network, size);
        CompressionJob job = Job(model, settings, new() { Ratio = 0.4 }, trainSteps: 3, fineTuneSteps: 1);
        int could = BlockRemoval.Candidates(model.Graph, []).Count;
        string[] all = [.. ResidualBranch.Find(model.Graph).Select(b => b.Name)];
        long before = model.ParameterCount;
        job.Run();
        RemovalReport report = Assert.Single(job.Removals);
        Assert.InRange(report.Difference, 0, 1e-6f);
        string[] left = [.. ResidualBranch.Find(model.Graph).Select(b => b.Name)];
        Assert.Equal(all.Length - (int)(0.4 * could), left.Length);
        Assert.Equal((before, model.ParameterCount), (report.Summary.ParametersBefore, report.Summary.ParametersAfter));
        using DependencyGraph graph = job.Graph();
        Assert.Equal(graph.MultiplyAdds(), report.Summary.MultiplyAddsAfter);
        Assert.True(report.Summary.MultiplyAddsAfter < report.Summary.MultiplyAddsBefore);
        Assert.DoesNotContain(model.Graph.Nodes, n => n.Op is AffineOp or DropoutOp { PerImage: true });
        Assert.DoesNotContain(model.Graph.Weights.Keys, w => all.Except(left).Any(r => w.StartsWith($"{r}.", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("target", 1)]
    [InlineData("target", 3)]
    [InlineData("3", 1)]
    [InlineData("3", 2)]
    public void ReachesItsTarget(string remove, int rounds)
    {
        using Model model = CompressionJobs.Model("resnet20");
        CompressionJob job = Job(model, $"remove={remove}", new() { TargetFlops = 0.6 }, rounds: rounds);
        job.Run();
        Assert.Equal(rounds, job.Removals.Count);
        double share = (double)job.Removals[^1].Summary.MultiplyAddsAfter / job.Removals[0].Summary.MultiplyAddsBefore;
        // All blocks but the two at stages' beginnings cost the same, 0.115 of the whole.
        if (remove == "target") Assert.InRange(share, 0.6 - 0.116, 0.6);
        else Assert.Equal(9 - 3, ResidualBranch.Find(model.Graph).Count);
    }

    [Fact]
    public void BlocksThatDoNothingGoFirst()
    {
        using Model model = CompressionJobs.Model("resnet20");
        Zero(model, "layer1.1");
        Zero(model, "layer3.2");
        CompressionJob job = Job(model, "remove=2,criterion=scale", new() { Ratio = 0.5 });
        using var scope = new Scope();
        float[] before = Logits(model, job);
        job.Run();
        Assert.Equal(["layer1.1", "layer3.2"], Gone(model));
        Assert.InRange(Removal.Difference(before, Logits(model, job)), 0, 1e-6f);
    }

    /// <summary>What leaving a block out costs is what zeros in its last batch norm cost.</summary>
    [Fact]
    public void ABlocksWorthIsTheLossWithoutIt()
    {
        using Model model = CompressionJobs.Model("resnet20");
        CompressionJob job = Job(model, "", new() { Ratio = 0.5 });
        var candidates = BlockRemoval.Candidates(model.Graph, []);
        Assert.Equal(["layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2"],
            candidates.Select(c => c.Name));
        double[] worth = BlockRemoval.LossIncreases(job, candidates);
        double whole = Loss();
        Zero(model, "layer2.2");
        Assert.Equal(Loss() - whole, worth[4], 1e-6);
        Assert.True(Math.Abs(worth[4]) > 1e-4, $"{worth[4]}");

        double Loss() => job.RankingBatches().Average(
            b => F.CrossEntropy(model.Graph.Run(b.ToTensor(model.Channels, model.ImageSize)), b.Labels).Item());
    }

    [Fact]
    public void BlocksToKeepStay()
    {
        using Model model = CompressionJobs.Model("resnet20");
        Job(model, "remove=2", new() { Ratio = 0.5, Keep = ["layer1*", "*.2"] }).Run();
        Assert.Equal(["layer2.1", "layer3.1"], Gone(model));
    }

    [Fact]
    public void WithNothingToRemoveTheNetworkIsTrainedAndFolded()
    {
        using Model model = CompressionJobs.Model("resnet20");
        CompressionJob job = Job(model, "remove=0", new() { Ratio = 0.5 }, trainSteps: 2);
        long before = model.ParameterCount;
        job.Run();
        Assert.Equal(before, model.ParameterCount);
        Assert.False(((CompressionMethod)job.Options).Removes);
        Assert.Empty(job.Removals);
        Assert.Empty(Gone(model));
    }

    /// <summary>Channels before blocks, blocks before channels, and blocks again: each time the file loads with nothing else.</summary>
    [Theory]
    [InlineData("l1", "stochastic-depth", "l1")]
    [InlineData("stochastic-depth", "l1", "stochastic-depth")]
    public void ComposesWithRemovalOfChannels(params string[] methods)
    {
        Model current = CompressionJobs.Model("resnet20");
        string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");
        try
        {
            foreach (string method in methods)
            {
                CompressionJob job = CompressionJobs.Job(current, CompressionMethods.Get(method) with
                {
                    Ratio = 0.3, FineTuneSteps = 1, Training = new() { LearningRate = 1e-3f },
                });
                job.Run();
                Assert.True(Assert.Single(job.Removals).Difference < 1e-4f);
                current.Save(path);
                Model loaded = Model.Open(path);
                using var scope = new Scope();
                Assert.Equal(Logits(current, job), Logits(loaded, job));
                Assert.Equal(Gone(current), Gone(loaded));
                current.Dispose();
                current = loaded;
            }
            Assert.Equal(methods.Count(m => m == "stochastic-depth") == 2 ? 3 : 2, Gone(current).Length);
        }
        finally
        {
            current.Dispose();
            File.Delete(path);
        }
    }

    [Theory]
    [InlineData("cifar-vgg11", "", 0.5, "no residual blocks")]
    [InlineData("cifar-vgg11", "remove=0", 0.5, "no residual blocks")]
    [InlineData("resnet20", "remove=8", 0.5, "without only 7")]
    [InlineData("resnet20", "remove=some", 0.5, "number of blocks")]
    [InlineData("resnet20", "survival=0", 0.5, "survival")]
    [InlineData("resnet20", "rule=quadratic", 0.5, "linear, uniform, ramp")]
    [InlineData("resnet20", "", 0.1, "less than one")]
    [InlineData("resnet20", "", -0.1, "remove channels as well")]
    public void ImpossibleRequestsAreOneLineBeforeAnyTraining(string network, string settings, double ratio, string message)
    {
        using Model model = CompressionJobs.Model(network);
        float[] before = model.Graph.Parameters.First().Value.ToArray();
        SelectionOptions selection = ratio < 0 ? new() { TargetFlops = -ratio } : new() { Ratio = ratio };
        string text = Assert.Throws<EspalierException>(() => Job(model, settings, selection, trainSteps: 1).Run()).Message;
        Assert.Contains(message, text);
        Assert.DoesNotContain('\n', text);
        Assert.Equal(before, model.Graph.Parameters.First().Value.ToArray());
    }

    private static CompressionJob Job(Model model, string settings, SelectionOptions selection, long trainSteps = 0,
        long fineTuneSteps = 0, int rounds = 1) =>
        CompressionJobs.Job(model, settings.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(s => s.Split('='))
            .Aggregate(CompressionMethods.Get("stochastic-depth"), (method, s) => method.Set(s[0], s[1])) with
            {
                Selection = selection, TrainSteps = trainSteps, FineTuneSteps = fineTuneSteps, Rounds = rounds,
                Training = new() { LearningRate = 1e-3f },
            });

    private static void Zero(Model model, string block)
    {
        model.Graph[$"{block}.bn2.weight"].Tensor.Fill(0);
        model.Graph[$"{block}.bn2.bias"].Tensor.Fill(0);
    }

    /// <summary>Blocks of a ResNet-20 that are no longer there.</summary>
    private static string[] Gone(Model model)
    {
        using Model whole = CompressionJobs.Model("resnet20");
        return [.. ResidualBranch.Find(whole.Graph).Select(b => b.Name).Except(ResidualBranch.Find(model.Graph).Select(b => b.Name))];
    }

    private static float[] Logits(Model model, CompressionJob job)
    {
        using var scope = new Scope();
        return model.Graph.Run(job.Example(4)).ToArray();
    }
}
