using Espalier.Compression;
using Espalier.Models;

namespace Espalier.Tests.Compression;

public sealed class SensitivityTests
{
    private static readonly ImportanceMethod L1 = (ImportanceMethod)CompressionMethods.Get("l1");

    /// <summary>What a sweep finds is what really removing the channels gives, and it leaves the network as it was.</summary>
    [Fact]
    public void ASweepFindsWhatRemovingGives()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11"), other = CompressionJobs.Net("cifar-vgg11");
        CompressionJob job = CompressionJobs.Job(net, new CompressionOptions());
        var calls = new List<(int, int)>();
        SensitivityResult result = new Sensitivity { Ratios = [0.2, 0.7] }.Sweep(job, L1, (done, all) => calls.Add((done, all)));
        Assert.Equal(Weights(other), Weights(net));
        using DependencyGraph graph = job.Graph();
        Assert.Equal(graph.Groups.Where(g => !g.IsStream).Select(g => g.Name), result.Groups.Select(g => g.Name));
        Assert.Equal(job.Evaluate().Scalars["accuracy"], result.Accuracy);
        Assert.Equal(Enumerable.Range(1, calls.Count).Select(i => (i, calls.Count)), calls);

        CompressionJob really = CompressionJobs.Job(other, new CompressionOptions());
        DependencyGraph whole = really.Graph();
        ChannelGroup group = whole.Groups[1];
        double[] scores = L1.Score(really, whole, [group]).Groups[group];
        int count = (int)(0.7 * group.Count);
        really.Remove(whole, new RemovalPlan().Add(group, Enumerable.Range(0, group.Count).OrderBy(k => scores[k]).Take(count)));
        SensitivityPoint point = result.Groups.Single(g => g.Name == group.Name).Points[1];
        Assert.Equal((0.7, count, really.Evaluate().Scalars["accuracy"]), (point.Ratio, point.Removed, point.Accuracy));
        whole.Dispose();
    }

    [Fact]
    public void AGroupGoesAsFarAsItCostsNoMoreThanTheTolerance()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        CompressionJob job = CompressionJobs.Job(net, new CompressionOptions());
        SensitivityResult all = new Sensitivity { Tolerance = 1 }.Sweep(job, L1);
        Assert.All(all.Groups, g => Assert.Equal(0.9, g.Most));
        Assert.True(all.MultiplyAddsTogether < 0.1 * all.MultiplyAdds);
        SensitivityResult none = new Sensitivity { Tolerance = -1 }.Sweep(job, L1);
        Assert.All(none.Groups, g => Assert.Equal(0, g.Most));
        Assert.Equal((none.MultiplyAdds, none.Accuracy), (none.MultiplyAddsTogether, none.AccuracyTogether));
        SensitivityResult some = new Sensitivity { Tolerance = 0.02 }.Sweep(job, L1);
        foreach (GroupSensitivity g in some.Groups)
        {
            bool Within(SensitivityPoint p) => p.Accuracy >= some.Accuracy - 0.02 - 1e-9;
            Assert.All(g.Points.Where(p => p.Ratio <= g.Most), p => Assert.True(Within(p)));
            Assert.DoesNotContain(g.Points.Where(p => p.Ratio > g.Most).Take(1), Within);
        }
    }

    [Fact]
    public void ALayerKeepsItsLeastAndPatternsAreLeftAlone()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        CompressionJob job = CompressionJobs.Job(net, new CompressionOptions());
        var sweep = new Sensitivity { Ratios = [0.9], Limits = new SelectionOptions { MinKept = 10, Keep = ["feature.0"] } };
        SensitivityResult result = sweep.Sweep(job, L1);
        Assert.DoesNotContain(result.Groups, g => g.Name == "feature.0");
        Assert.All(result.Groups, g => Assert.True(g.Channels - g.Points[0].Removed >= Math.Min(10, g.Channels)));
    }

    private static float[] Weights(Cnn net) => [.. net.Trace().ReadWeights().SelectMany(w => w.Tensor.ToArray())];
}
