using Espalier.Compression;
using Espalier.Compression.Methods.Apt;
using Espalier.Models;

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
