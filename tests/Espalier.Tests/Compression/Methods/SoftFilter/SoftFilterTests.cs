using Espalier.Compression;
using Espalier.Compression.Methods.SoftFilter;
using Espalier.Models;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class SoftFilterTests
{
    [Theory]
    [InlineData("mobilenet_v2", 32, 0.3, false, 1)]
    [InlineData("cifar-vgg11", 16, 0.3, false, 2)]
    [InlineData("resnet18", 32, 0.3, false, 2)]
    [InlineData("preresnet20", 16, 0.3, false, 1)]
    [InlineData("resnet20", 16, null, true, 2)]
    public void RemovesWhatIsZeroAtTheEnd(string network, int size, double? ratio, bool asymptotic, int norm)
    {
        using Cnn net = CompressionJobs.Net(network, size);
        CompressionJob job = CompressionJobs.Job(net, new SoftFilter
        {
            Selection = ratio is null ? new() { TargetFlops = 0.6 } : new() { Ratio = ratio }, TrainSteps = 4, FineTuneSteps = 1,
            Training = new() { LearningRate = 1e-3f }, Every = 3, Asymptotic = asymptotic, Norm = norm,
        });
        using DependencyGraph before = job.Graph();
        long parameters = net.ParameterCount;
        job.Run();
        RemovalReport report = Assert.Single(job.Removals);
        Assert.True(net.ParameterCount < parameters, $"{parameters} -> {net.ParameterCount} parameters");
        Assert.True(report.Difference < 1e-4f, $"differs by {report.Difference}");
        if (ratio is null)
        {
            Assert.InRange((double)report.Summary.MultiplyAddsAfter / report.Summary.MultiplyAddsBefore, 0.5, 0.6);
            return;
        }
        Dictionary<string, Tensor> left = net.StateDict().ToDictionary(p => p.Name, p => p.Value);
        foreach (ChannelGroup g in before.Groups.Where(g => !g.IsStream && g.Of(ChannelRole.Producer).Any()))
            Assert.Equal(g.Count - SoftFilters.Count(g.Count, ratio.Value), left[g.Slices[0].Name].Shape[0]);
    }

    [Fact]
    public void WidthsAreRounded()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        CompressionJob job = CompressionJobs.Job(net, new SoftFilter { Selection = new() { Ratio = 0.3, RoundTo = 8 } });
        job.Run();
        Assert.Equal([16, 24, 48, 48], net.Parameters().Where(p => p.Rank == 4).Take(4).Select(p => p.Shape[0]));
    }

    [Theory]
    [InlineData(16, 0.3, 4)]
    [InlineData(32, 0.3, 9)]
    [InlineData(64, 0.3, 19)]
    [InlineData(512, 0.3, 153)]
    [InlineData(10, 1 - 0.9, 1)]
    [InlineData(20, 1 - 0.9, 2)]
    [InlineData(100, 1 - 0.9, 10)]
    [InlineData(4, 0.999, 3)]
    public void CountsRoundDownButNotByRoundingErrors(int filters, double ratio, int count) =>
        Assert.Equal(count, SoftFilters.Count(filters, ratio));

    [Fact]
    public void TheSmallestAreZeroedAndOthersStayBitForBit()
    {
        Tensor weight = Tensor.From(new Shape(4, 2), [3, 0, 0, -1, 2, 0, 0.3f, 0.4f]);
        SoftFilters filters = Filters(weight);
        filters.Zero(new LayerRatios(("*", 0.5)));
        Assert.Equal([3, 0, 0, 0, 2, 0, 0, 0], weight.ToArray());
        Assert.Equal([1, 3], filters.Zeroed().Channels["layer"]);
    }

    /// <summary>
    /// A zeroed filter moves on at once with its old momentum: 0.9 · 0.2 + 0.5 = 0.68, times the rate; with Nesterov's 0.9 · 0.68 +
    /// 0.5. Without it, with the gradient alone.
    /// </summary>
    [Theory]
    [InlineData(false, false, -0.068f)]
    [InlineData(true, false, -0.1112f)]
    [InlineData(false, true, -0.05f)]
    public void ZeroedFiltersGrowBack(bool nesterov, bool reset, float expected)
    {
        Tensor weight = Tensor.Parameter(new Shape(2, 1));
        weight.Span[1] = 5;
        using var sgd = new Sgd([new ParameterGroup("all", [("w", weight)])], momentum: 0.9f, nesterov: nesterov, weightDecay: 5e-4f);
        var hook = new SoftFilterHook(Filters(weight), new LayerRatios(("*", 0.5)), every: 1, steps: 10, asymptotic: false, reset);
        hook.BeforeForward(new StepContext(1, 10, 0, 0, 1, new Rng(1)) { Optimizer = sgd });
        Step(0.2f);
        Assert.NotEqual(0, weight.Span[0]);
        hook.AfterStep(1);
        Assert.Equal(0, weight.Span[0]);
        Step(0.5f);
        Assert.Equal(expected, weight.Span[0], 1e-6f);

        void Step(float gradient)
        {
            using var scope = new Scope();
            using var recording = new Recording();
            recording.Backward(F.Sum(F.Mul(weight, Tensor.From(new Shape(2, 1), [gradient, 0]))));
            sgd.Step(0.1f);
            weight.ClearGrad();
        }
    }

    [Fact]
    public void ZeroesWhenDueAndAtTheEnd()
    {
        Tensor weight = Tensor.Zeros(new Shape(2, 1));
        var hook = new SoftFilterHook(Filters(weight), new LayerRatios(("*", 0.5)), every: 3, steps: 7, asymptotic: false);
        var zeroed = new List<long>();
        for (long step = 1; step <= 7; step++)
        {
            weight.Fill(1);
            hook.AfterStep(step);
            if (weight.Span[0] == 0) zeroed.Add(step);
        }
        Assert.Equal([3L, 6, 7], zeroed);
    }

    [Fact]
    public void TheAsymptoticShareRises()
    {
        Assert.Equal(0, SoftFilterHook.Asymptotic(0.4, 0));
        Assert.Equal(0.3, SoftFilterHook.Asymptotic(0.4, 0.125), 1e-9);
        Assert.Equal(0.4, SoftFilterHook.Asymptotic(0.4, 1), 1e-12);
    }

    [Fact]
    public void ANetworkWithoutFiltersToSpareIsRefused()
    {
        using Cnn net = CompressionJobs.Net("densenet40");
        CompressionJob job = CompressionJobs.Job(net, new SoftFilter { Ratio = 0.3 });
        Assert.Contains("lists of channels",
            Assert.Throws<EspalierException>(job.Run).Message);
    }

    [Fact]
    public void AThresholdIsRefused()
    {
        using Cnn net = CompressionJobs.Net("resnet20");
        CompressionJob job = CompressionJobs.Job(net, new SoftFilter { Selection = new() { Threshold = 1 } });
        Assert.Contains("ratio", Assert.Throws<EspalierException>(job.Run).Message);
    }

    private static SoftFilters Filters(Tensor weight) => new([new ChannelGroup("layer", 0,
        [new GroupSlice("layer.weight", weight, 0, ChannelRole.Producer,
            [.. Enumerable.Range(0, weight.Shape[0]).Select(k => (int[])[k])])], ChannelKind.Channels, null)],
            new SelectionOptions { MinKept = 1 });
}
