using Espalier.Compression;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Tests.Compression;

/// <summary>Every method that shortens the tokens of a transformer and leaves its weights: as a job with a step of fine-tuning,
/// to a file that needs nothing else.</summary>
[Collection("Workers")]
public sealed class TokenJobTests : IDisposable
{
    private readonly string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");

    private static readonly string[] All =
        [.. CompressionMethods.All.Where(m => m is not ITrainingMethod && !m.Removes && m.TakesTarget).Select(m => m.Name)];

    public static TheoryData<string> Names => [.. All];

    public void Dispose() => File.Delete(path);

    [Fact]
    public void ThereAreSome() => Assert.Equal(["ats", "topk", "dynamicvit", "evit", "patch-slimming", "random-tokens", "tome"], All);

    [Theory]
    [MemberData(nameof(Names))]
    public void RunAsJobs(string name)
    {
        CompressionMethod method = CompressionMethods.Get(name) with { FineTuneSteps = 2, RankBatches = 1 };
        method = name == "patch-slimming" ? method.Set("tune", "2") : name == "ats" ? method.Set("count", "6")
            : method with { TargetFlops = 0.7 };
        using Model model = TokenNets.Vit(classes: 10);
        long parameters = model.ParameterCount, cost = model.Graph.CostPerImage.MultiplyAdds;
        CompressionJob job = CompressionJobs.Job(model, method);
        job.Run();
        // What decides may have weights of its own.
        Assert.Equal(parameters, model.ParameterCount
            - model.Graph.Parameters.Where(p => p.Name.StartsWith("score_predictor.", StringComparison.Ordinal)).Sum(p => p.Value.Length));
        if (name != "ats") Assert.InRange(model.Graph.CostPerImage.MultiplyAdds, 1, (name == "patch-slimming" ? 1 : 0.7) * cost);
        Assert.Single(model.Card.History);
        Assert.Single(job.Stages);
        Assert.InRange(Assert.Single(job.Findings, f => f.Name == CompressionJob.MaskedDifference).Value, 0, 1e-4);
        model.Save(path);
        using Model read = Model.Open(path);
        Assert.Contains(name, Assert.Single(read.Card.History), StringComparison.Ordinal);
        using var scope = new Scope();
        Tensor images = job.Example(4);
        float[] expected = model.Graph.Run(images).ToArray(), actual = new float[expected.Length];
        Assert.Equal(expected, read.Graph.Run(images).ToArray());
        using Session session = read.Session();
        session.Run(images.Span, 4, actual);
        Assert.InRange(Removal.Difference(expected, actual), 0, 1e-4f * Math.Max(1, expected.Max(MathF.Abs)));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void AreForTransformers(string name)
    {
        using Model cnn = CompressionJobs.Model("resnet20", 16, width: 0.25);
        CompressionMethod method = CompressionMethods.Get(name) with { FineTuneSteps = 1 };
        string message = Assert.Throws<EspalierException>(CompressionJobs.Job(cnn, method).Run).Message;
        Assert.Contains("no vision transformer", message);
        Assert.DoesNotContain('\n', message);
    }
}
