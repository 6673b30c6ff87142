using Espalier.Compression;
using Espalier.Data;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tests.Data;
using Espalier.Training;

namespace Espalier.Tests.Compression;

public sealed class JobRecordsTests
{
    [Fact]
    public void AJobNotesScoresRemovalsAndLosses()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        CompressionJob job = CompressionJobs.Job(net,
            CompressionMethods.Get("l1") with { Rounds = 2, FineTuneSteps = 25, Ratio = 0.5 });
        job.Run();
        Assert.Equal(2, job.Selections.Count);
        for (int round = 0; round < 2; round++)
        {
            foreach (ScoredGroup group in job.Selections[round].Groups)
            {
                Assert.NotEmpty(group.Removed);
                float most = group.Removed.Max(k => group.Scores[k]);
                Assert.All(Enumerable.Range(0, group.Scores.Count).Except(group.Removed), k => Assert.True(group.Scores[k] >= most));
            }
        }
        Assert.Equal(job.LastPlan!.Channels.Select(c => (c.Key, c.Value.Length)).Order(),
            job.Selections[1].Groups.Select(g => (g.Name, g.Removed.Count)).Order());
        Assert.Equal([("fine-tune 1/2", 12L), ("fine-tune 2/2", 13L)], job.Stages.Select(s => (s.Name, s.Steps)));
        Assert.Equal([10L, 12L], job.Stages[0].Losses.Select(l => l.Step));
        Assert.All(job.Stages, s => Assert.InRange(s.Accuracy!.Value, 0, 1));
        Assert.All(job.Stages.SelectMany(s => s.Losses), l => Assert.InRange(l.Loss, 0.01, 10));
    }

    /// <summary>A picture that cannot be read is left out of what a job looks at, as it is of training, where the data set says so.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AnExampleLeavesOutWhatCannotBeRead(bool skips)
    {
        using Model model = CompressionJobs.Model("resnet20");
        ImagePipeline pipeline = ImagePipeline.Eval(16, 1);
        var torn = new FakeDataset(6, size: 16) { Broken = 1, Skips = skips };
        var job = new CompressionJob(model, new TrainingData(torn, pipeline, torn, pipeline), CompressionMethods.Get("l1"), null, default);
        using var scope = new Scope();
        if (!skips)
        {
            Assert.Contains("1.png", Assert.Throws<EspalierException>(() => job.Example(3)).Message);
            return;
        }
        Assert.Equal([3, 5], new[] { job.Example(3).Shape[0], job.Example(16).Shape[0] });
    }

    /// <summary>The last of rounds that remove much at first asks for less than one channel of a layer, and a threshold that was
    /// reached asks for nothing.</summary>
    [Theory]
    [InlineData("l1", 0.3, null)]
    [InlineData("bn-scale", null, 0.7)]
    [InlineData("network-slimming", null, 0.7)]
    public void ARoundAfterTheFirstMayFindNothingLeftToRemove(string method, double? ratio, double? threshold)
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        CompressionJob job = CompressionJobs.Job(net, CompressionMethods.Get(method) with
        {
            Rounds = 5, Schedule = PruningSchedule.Agp, Selection = new() { Ratio = ratio, Threshold = threshold },
        });
        job.Run();
        Assert.Equal(5, job.Selections.Count);
        Assert.All(job.Selections[^1].Groups, g => Assert.Empty(g.Removed));
        Assert.Equal(job.Selections.Count(s => s.Groups.Any(g => g.Removed.Count > 0)), job.Removals.Count);
        Assert.NotEmpty(job.Removals);
    }

    /// <summary>The network is looked at again only where it is another.</summary>
    [Fact]
    public void AnEvaluationIsNotRepeatedUnlessTheNetworkChanged()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        var seen = new Evaluations();
        var job = new CompressionJob(Model.FromModule(net), CompressionJobs.Data(16),
            new CompressionOptions { Training = new TrainOptions { BatchSize = 16, DataThreads = 0 } }, seen);
        job.Train("train", 2);
        int after = seen.Batches;
        EvaluationResult result = job.Evaluate();
        Assert.Equal(after, seen.Batches);
        Assert.Equal(job.Stages[0].Accuracy, result.Scalars["accuracy"]);
        foreach (ref float x in net.Parameters().Last().Span) x += 1;
        job.Evaluate();
        Assert.True(seen.Batches > after);
    }

    private sealed class Evaluations : ITrainingProgress
    {
        public int Batches { get; private set; }

        public void Step(StepInfo info) { }

        public void Evaluating(long step, int batch, int batches) => Batches++;

        public void Evaluated(long step, EvaluationResult result, IReadOnlyList<string> newBest) { }

        public void Message(string text) { }
    }
}
