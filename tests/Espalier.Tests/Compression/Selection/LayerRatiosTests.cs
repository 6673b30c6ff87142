using Espalier.Compression;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Selection;

public sealed class LayerRatiosTests : IDisposable
{
    private readonly Cnn net = CompressionJobs.Net("cifar-vgg11");
    private readonly DependencyGraph graph;

    public LayerRatiosTests() =>
        graph = ModuleGraphs.Build(net, net.Forward, Tensor.Zeros(new Shape(1, 1, 16, 16)));

    public void Dispose()
    {
        graph.Dispose();
        net.Dispose();
    }

    [Fact]
    public void EachLayerLosesTheShareOfItsFirstPattern()
    {
        LayerRatios ratios = LayerRatios.Parse("feature.0=0,feature.?=0.25,*=0.5");
        Assert.Equal(ratios.ToString(), LayerRatios.Parse(ratios.ToString()).ToString());
        RemovalPlan plan = Plan(ratios);
        Assert.True(graph.Groups.Count > 4);
        foreach (ChannelGroup g in graph.Groups)
        {
            double share = g.Name == "feature.0" ? 0 : g.Name.Length == "feature.0".Length ? 0.25 : 0.5;
            Assert.Equal((int)(share * g.Count), plan.Channels.GetValueOrDefault(g.Name, []).Length);
        }
    }

    [Fact]
    public void LayersWithoutAPatternStay() => Assert.Equal(["feature.4"], Plan(LayerRatios.Parse("feature.4=0.5")).Channels.Keys);

    [Fact]
    public void OneNumberIsTheShareOfAllLayers()
    {
        LayerRatios? one = 0.3, none = (double?)null;
        Assert.Equal((0.3, "0.3"), (one!.OfAll, one.ToString()));
        Assert.Equal(0.3, LayerRatios.Parse("*=0.3").OfAll);
        Assert.Null(none);
        Assert.Equal(Plan(0.3).Channels, Plan(LayerRatios.Parse("feature.0=0.3,*=0.3")).Channels);
    }

    /// <summary>Several rounds lead each layer to its own share, rounded down in each.</summary>
    [Fact]
    public void RoundsLeadEachLayerToItsOwnEnd()
    {
        CompressionJob job = CompressionJobs.Job(net, CompressionMethods.Get("l1") with
        {
            Ratio = LayerRatios.Parse("feature.4=0.75,feature.8=0.5"), Rounds = 2,
        });
        Dictionary<string, int> before = Counts();
        job.Run();
        Dictionary<string, int> after = Counts();
        Assert.Equal(["feature.4", "feature.8"], before.Keys.Where(k => after[k] != before[k]).Order());
        Assert.InRange((double)after["feature.4"] / before["feature.4"], 0.25, 0.32);
        Assert.InRange((double)after["feature.8"] / before["feature.8"], 0.5, 0.55);

        Dictionary<string, int> Counts() => job.Graph().Groups.ToDictionary(g => g.Name, g => g.Count);
    }

    [Theory]
    [InlineData("layer1*=0.5", "no layer that could be pruned matches 'layer1*'")]
    [InlineData("*=0.5,feature.4=0.2", "'feature.4' is never used")]
    [InlineData("feature.4=1", "ratio of 'feature.4' is 1")]
    [InlineData("feature.4=-0.1,*=0.5", "ratio of 'feature.4' is -0.1")]
    [InlineData("feature.4=NaN,*=0.5", "ratio of 'feature.4' is NaN")]
    [InlineData("feature.4=0", "nothing would go")]
    [InlineData("feature.4=half", "'feature.4=half' is no share")]
    [InlineData("0.5,0.6", "'0.5' is no share")]
    [InlineData("", "'' is no share")]
    [InlineData("*=1.5", "the ratio is 1.5")]
    public void WrongRatiosAreOneLine(string text, string expected)
    {
        string message = Assert.Throws<EspalierException>(() => Plan(LayerRatios.Parse(text))).Message;
        Assert.Contains(expected, message);
        Assert.DoesNotContain('\n', message);
    }

    /// <summary>A share of all channels is divided among layers by their scores: then no layer has a share of its own.</summary>
    [Theory]
    [InlineData("l1", true)]
    [InlineData("network-slimming", false)]
    [InlineData("repr", false)]
    [InlineData("stochastic-depth", false)]
    public void WhereLayersCompeteThereIsOneRatio(string method, bool global)
    {
        using Cnn residual = CompressionJobs.Net("resnet20");
        var selection = new SelectionOptions { Ratio = LayerRatios.Parse("layer1*=0.2,*=0.5"), Global = global };
        string message = Assert.Throws<EspalierException>(
            CompressionJobs.Job(residual, CompressionMethods.Get(method) with { Selection = selection }).Run).Message;
        Assert.Contains("one ratio", message);
        Assert.DoesNotContain('\n', message);
    }

    /// <summary>Methods that choose in a way of their own heed the shares too.</summary>
    [Theory]
    [InlineData("soft-filter", "norm", "2")]
    [InlineData("repr", "rank", "layer")]
    [InlineData("network-slimming", "scope", "layer")]
    public void EveryMethodThatTakesSharesOfLayersTakesTheirOwn(string method, string setting, string value)
    {
        CompressionMethod with = CompressionMethods.Get(method).Set(setting, value) with
        {
            Ratio = LayerRatios.Parse("feature.4=0.25,feature.8=0.5"),
        };
        Dictionary<string, int> before = graph.Groups.ToDictionary(g => g.Name, g => g.Count);
        CompressionJob job = CompressionJobs.Job(net, with);
        job.Run();
        using DependencyGraph after = job.Graph();
        foreach (ChannelGroup g in after.Groups)
        {
            double share = g.Name switch { "feature.4" => 0.25, "feature.8" => 0.5, _ => 0 };
            Assert.Equal(before[g.Name] - (int)(share * before[g.Name]), g.Count);
        }
    }

    private RemovalPlan Plan(LayerRatios? ratio)
    {
        var selection = new SelectionOptions { Ratio = ratio };
        var scores = new ChannelScores();
        foreach (ChannelGroup g in selection.Checked().Candidates(graph))
            scores.Set(g, [.. Enumerable.Range(0, g.Count).Select(k => (double)k)]);
        return ChannelSelector.Choose(graph, scores, selection);
    }
}
