using Espalier.Compression;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

public sealed class MagnitudeTests
{
    /// <summary>Each method on each kind of network: smaller, equal to the masked network, and it can be done again.</summary>
    [Theory]
    [InlineData("l1", "cifar-vgg11", 16)]
    [InlineData("l2", "resnet20", 16)]
    [InlineData("fpgm", "resnet18", 32)]
    [InlineData("random", "densenet121", 32)]
    [InlineData("bn-scale", "preresnet20", 16)]
    [InlineData("l1", "densenet40", 16)]
    [InlineData("l1", "vgg11_bn", 32)]
    [InlineData("l1", "mobilenet_v2", 32)]
    [InlineData("l1", "efficientnet_b0", 32)]
    [InlineData("l1", "shufflenet_v2_x1_0", 32)]
    [InlineData("l1", "xception", 71)]
    public void MakesNetworksSmaller(string method, string network, int size)
    {
        using Cnn net = CompressionJobs.Net(network, size);
        CompressionJob job = CompressionJobs.Job(net,
            CompressionMethods.Get(method) with { TargetFlops = 0.7, FineTuneSteps = 1 });
        long before = net.ParameterCount;
        job.Run();
        job.Run();
        Assert.Equal(2, job.Removals.Count);
        Assert.True(net.ParameterCount < 0.9 * before, $"{before} -> {net.ParameterCount} parameters");
        foreach (RemovalReport r in job.Removals)
        {
            Assert.InRange((double)r.Summary.MultiplyAddsAfter / r.Summary.MultiplyAddsBefore, 0.6, 0.7);
            Assert.True(r.Difference < 1e-4f, $"differs by {r.Difference}");
        }
    }

    [Fact]
    public void ScoresByNormsAndDistances()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        CompressionJob job = CompressionJobs.Job(net, new CompressionOptions());
        using DependencyGraph graph = job.Graph();
        ChannelGroup group = graph.Groups[0];
        Tensor weight = group.Slices[0].Tensor;                                     // [16, 1, 3, 3]
        weight.Fill(0);
        for (int k = 0; k < 16; k++) (weight.Span[9 * k], weight.Span[9 * k + 1]) = (k, -1);
        double[] Scores(string method)
        {
            var importance = (ImportanceMethod)CompressionMethods.Get(method);
            double[] s = importance.Score(job, graph, [group]).Groups[group];
            return [.. s.Select(x => x / s[15])];
        }
        double[] l1 = Scores("l1"), l2 = Scores("l2"), fpgm = Scores("fpgm");
        Assert.Equal(4.0 / 16, l1[3], 1e-6);
        Assert.Equal(Math.Sqrt(10) / Math.Sqrt(226), l2[3], 1e-6);
        // Distances to 0 .. 15 on a line: from 3 they are 6 + 78, from 15 they are 120.
        Assert.Equal(84.0 / 120, fpgm[3], 1e-6);
        Assert.Equal(fpgm.Min(), fpgm[7], 1e-9);
    }

    /// <summary>Channels that a list picks have no filters: they go by the weights that read them, or by the norm before.</summary>
    [Fact]
    public void ListedChannelsGoByTheirColumnsOrScales()
    {
        using Cnn net = CompressionJobs.Net("preresnet20");
        CompressionJob job = CompressionJobs.Job(net, new CompressionOptions());
        using DependencyGraph graph = job.Graph();
        ChannelGroup group = graph["layer2.1.select"];
        Dictionary<string, Tensor> state = net.StateDict().ToDictionary(s => s.Name, s => s.Value);
        Tensor reader = state["layer2.1.conv1.weight"], gamma = state["layer2.1.bn1.weight"];
        int columns = reader.Shape[1];
        for (int k = 0; k < columns; k++)
        {
            gamma.Span[k] = -1 - k;
            for (int row = 0; row < reader.Shape[0]; row++) reader.Span[row * columns + k] = (row % 2 * 2 - 1) * (2 + k);
        }
        double[] Scores(string method)
        {
            var importance = (ImportanceMethod)CompressionMethods.Get(method);
            double[] s = importance.Score(job, graph, [group]).Groups[group];
            return [.. s.Select(x => x / s[0])];
        }
        for (int k = 0; k < columns; k++)
        {
            Assert.Equal((2 + k) / 2.0, Scores("l1")[k], 1e-6);
            Assert.Equal(1.0 + k, Scores("bn-scale")[k], 1e-6);
        }
    }

    [Fact]
    public void AnUnknownMethodIsRefusedWithTheKnownOnes() =>
        Assert.Contains("l1", Assert.Throws<EspalierException>(() => CompressionMethods.Get("magic")).Message);
}
