using Espalier.Compression;
using Espalier.Compression.Methods.SoftFilter;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

/// <summary>Residual blocks whose last convolution loses filters that the stream keeps.</summary>
public sealed class NarrowBranchesTests : IDisposable
{
    private readonly string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");

    public void Dispose() => File.Delete(path);

    /// <summary>
    /// Filters that are zero still emit kappa behind their batch norm. With it in the stream the small network is the zeroed one;
    /// without it, it is another.
    /// </summary>
    [Theory]
    [InlineData("resnet20", 16)]
    [InlineData("resnet18", 32)]
    public void WithKappaTheSmallNetworkIsTheZeroedOne(string network, int size)
    {
        using Model model = CompressionJobs.Model(network, size);
        CompressionJob job = CompressionJobs.Job(model, new CompressionOptions());
        using var scope = new Scope();
        Tensor images = job.Example(8);
        NarrowBranches.Allow(model.Graph);
        using DependencyGraph graph = job.Graph();
        var plan = new RemovalPlan();
        foreach (ChannelGroup last in graph.Groups.Where(g => g.Name.EndsWith(".conv2", StringComparison.Ordinal)))
        {
            Assert.Contains(last.Slices, s => s.Role == ChannelRole.Index);
            plan.Add(last, Enumerable.Range(0, last.Count / 3).Select(k => 3 * k));
        }
        foreach (var (name, channels) in plan.Channels)
            PlannedCuts.Zero(graph[name].Slices[0].Tensor, 0, channels);
        float[] zeroed = Logits(model, images);
        Assert.InRange(LastZeroing.Run(graph, plan).Difference, 0, 1e-5f);
        job.Remove(graph, plan);
        Assert.InRange(Removal.Difference(zeroed, Logits(model, images)), 0, 1e-5f);

        model.Save(path);
        using (Model loaded = Model.Open(path)) Assert.Equal(Logits(model, images), Logits(loaded, images));
        foreach (GraphNode sum in model.Graph.Nodes.Where(n => n.Op is IndexAddOp)) sum.Operands[1]!.Tensor.Fill(0);
        Assert.True(Removal.Difference(zeroed, Logits(model, images)) > 1e-2f);
    }

    [Theory]
    [InlineData("resnet20", 16, 9)]
    [InlineData(CompressionJobs.TinyVit, 8, 4)]
    public void Lists_that_lose_nothing_become_sums_again(string network, int size, int branches)
    {
        using Model model = CompressionJobs.Model(network, size);
        string[] names = [.. model.Graph.Weights.Keys];
        using var scope = new Scope();
        Tensor images = CompressionJobs.Job(model, new CompressionOptions()).Example(2);
        float[] before = Logits(model, images);
        NarrowBranches.Allow(model.Graph);
        NarrowBranches.Allow(model.Graph);
        Assert.Equal(2 * branches, model.Graph.Weights.Keys.Except(names).Count());
        Assert.InRange(Removal.Difference(before, Logits(model, images)), 0, 1e-6f);
        NarrowBranches.Tidy(model.Graph);
        Assert.Equal(names, model.Graph.Weights.Keys);
        Assert.Equal(before, Logits(model, images));
    }

    /// <summary>
    /// Multiplies of the convolutions by the paper's formula, in which the first block has both of its convolutions cut on both
    /// sides, and by what is left of them where the stream stays whole. The stem counts as cut in both.
    /// </summary>
    [Theory]
    [InlineData(20, 10, 40_550_400, 14.71, 15.2)]
    [InlineData(20, 20, 40_550_400, 28.38, 29.3)]
    [InlineData(20, 30, 40_550_400, 41.00, 42.2)]
    [InlineData(32, 10, 68_861_952, null, 14.9)]
    [InlineData(32, 20, 68_861_952, null, 28.8)]
    [InlineData(32, 30, 68_861_952, null, 41.5)]
    [InlineData(56, 40, 125_485_056, 52.18, 52.6)]
    [InlineData(110, 30, 252_887_040, null, 40.8)]
    public void MultipliesThatGo(int depth, int percent, long all, double? whole, double published)
    {
        var rng = new Rng(1);
        using var net = new CifarResNet(depth, CnnPresets.Get("resnet20"), ref rng);
        using var scope = new Scope();
        Tensor image = Tensor.Zeros(new Shape(1, 3, 32, 32));
        Graph network = net.Trace();
        NarrowBranches.Allow(network);
        using DependencyGraph graph = DependencyGraph.Build(network, image);
        HashSet<(Tensor, int)> cut = [.. graph.Groups.SelectMany(g => g.Slices).Select(s => (s.Tensor, s.Axis))];
        double kept = 1 - percent / 100.0, before = 0, after = 0, formula = 0;
        foreach (var (name, weight) in net.StateDict().Where(s => s.Value.Rank == 4))
        {
            int map = name.StartsWith("layer2", StringComparison.Ordinal) ? 16
                : name.StartsWith("layer3", StringComparison.Ordinal) ? 8 : 32;
            double multiplies = (double)weight.Length * map * map;
            double left = (cut.Contains((weight, 0)) ? kept : 1) * (cut.Contains((weight, 1)) ? kept : 1);
            if (name == "conv1.weight") left *= kept;
            before += multiplies;
            after += left * multiplies;
            formula += multiplies * (name == "layer1.0.conv1.weight" ? kept * kept : left);
        }
        Assert.Equal(all, before);
        Assert.Equal(graph.MultiplyAdds() - 640, before);
        if (whole is not null) Assert.Equal(whole.Value, 100 * (1 - after / before), 0.005);
        Assert.Equal(published, 100 * (1 - formula / before), 0.05);
        if ((depth, percent) != (20, 30)) return;
        // With whole filters 4 of 16 go, not 4.8: 37.94 %, a quarter of the stem included.
        RemovalPlan plan = new SoftFilters(graph.Groups, new SelectionOptions()).Smallest(new LayerRatios(("*", 0.3)));
        long left20 = graph.MultiplyAdds(plan) - 640;
        Assert.Equal(37.94, 100 * (1 - (left20 - 442_368 / 4) / before), 0.01);
    }

    /// <summary>Rounding 20 channels to sixteens would take four where a share takes none.</summary>
    [Fact]
    public void LayersThatLoseNothingStayWhole()
    {
        using Model model = CompressionJobs.Model("resnet20", 16, width: 0.625);
        using var scope = new Scope();
        using DependencyGraph graph = DependencyGraph.Build(model.Graph, Tensor.Zeros(new Shape(1, model.Channels, 16, 16)));
        Assert.Contains(graph.Groups, g => g.Count == 20);
        var options = new SelectionOptions { RoundTo = 16 };
        Assert.Equal(0, new SoftFilters(graph.Groups, options).Smallest(new LayerRatios(("*", 0.02))).Count);
        Assert.True(new SoftFilters(graph.Groups, options).Smallest(new LayerRatios(("*", 0.4))).Count > 0);
    }

    private static float[] Logits(Model model, Tensor images)
    {
        using var scope = new Scope();
        return model.Graph.Run(images).ToArray();
    }
}
