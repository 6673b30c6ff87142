using Espalier.Compression;
using Espalier.Compression.Methods.Apt;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class AptTests
{
    [Fact]
    public void AJobTrainsAgentsInATransformer()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        CompressionJob job = CompressionJobs.Job(model, new Apt { TrainSteps = 3, Layers = [0], TargetFlops = 0.8 });
        job.Run();
        Assert.Equal(("agents", 3L), (job.Stages.Single().Name, job.Stages.Single().Steps));
        Assert.Single(TokenAgent.Find(model.Graph));
        Assert.InRange(job.Evaluate().Scalars["accuracy"], 0, 1);
    }

    /// <summary>One image says little about a network whose images decide.</summary>
    [Fact]
    public void MultiplyAddsAreTheMeanOfTheImages()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8), before = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        CompressionJob job = CompressionJobs.Job(model, new Apt { TrainSteps = 3, Layers = [0], TargetFlops = 0.8 });
        var compared = new BeforeAfter(job, before);
        job.Run();
        ModelEvaluation Evaluated(float threshold, HashSet<int> left)
        {
            model.SetKeepRule(KeepRule.AtLeast(-threshold));
            using Session session = model.Session();
            TrainingData data = CompressionJobs.Data(8);
            using var loader = new DataLoader(data.Evaluation, data.EvaluationPipeline, 32);
            return new Evaluator(session).Run(loader.Once(), image => left.Add(image.Tokens[^1]));
        }

        (ModelEvaluation Mean, HashSet<int> Left) found = Enumerable.Range(20, 60).Select(t =>
        {
            var left = new HashSet<int>();
            return (Evaluated(t / 100f, left), left);
        }).First(e => e.left.Count > 1);
        Assert.Equal(found.Mean.MultiplyAdds, compared.Measure(TimeSpan.FromMilliseconds(1)).After.MultiplyAdds, 1e-6);
    }

    /// <summary>As where the process stopped behind the training: what is done is not evaluated again, and the threshold that a
    /// budget has found is in the state alone.</summary>
    [Fact]
    public void AStageThatIsDoneIsResumedWithItsThreshold()
    {
        string folder = Directory.CreateTempSubdirectory("espalier-apt-").FullName;
        try
        {
            var method = new Apt { TrainSteps = 3, Layers = [0], TargetFlops = 0.8 };
            method = method with { Training = method.Training with { OutputDir = folder } };
            using Model trained = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
            using Model resumed = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
            CompressionJob first = CompressionJobs.Job(trained, method);
            first.Run();
            CompressionJobs.Job(resumed, method with { Training = method.Training with { Resume = true } }).Run();
            Assert.NotEqual(Pruning.Threshold(0.5f), Pruning.Of(trained.Graph));
            Assert.Equal(Pruning.Of(trained.Graph), Pruning.Of(resumed.Graph));
            using var scope = new Scope();
            Tensor images = first.Example(8);
            Assert.Equal(trained.Graph.Run(images).ToArray(), resumed.Graph.Run(images).ToArray());
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void WithoutStepsOrTokensItSaysSo()
    {
        using Model vit = CompressionJobs.Model(CompressionJobs.TinyVit, 8), cnn = CompressionJobs.Model("resnet20");
        Assert.Contains("TrainSteps", Assert.Throws<EspalierException>(CompressionJobs.Job(vit, new Apt()).Run).Message);
        Assert.Contains("no vision transformer",
            Assert.Throws<EspalierException>(CompressionJobs.Job(cnn, new Apt { TrainSteps = 1 }).Run).Message);
        Assert.Contains("rise from 0 to at most 1",
            Assert.Throws<EspalierException>(CompressionJobs.Job(vit, new Apt { TrainSteps = 1, Layers = [2] }).Run).Message);
    }
}
