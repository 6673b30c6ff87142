using Espalier.Compression;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Structure;

public class DependencyGraphTests
{
    [Fact]
    public void GroupsOfTheToyNetwork()
    {
        using var net = new ToyNet(1);
        using Tensor x = ToyNet.Images(1, 2);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        string[] expected =
        [
            "stem.conv: 8 channels of stem.conv, block.conv2, stem.bn, block.conv1, block.bn2, dw.conv, dw.bn, point, side",
            "block.conv1: 6 channels of block.conv1, block.bn1, block.conv2",
            // A grouped convolution ties channel 0 to 6, 1 to 7 and so on; of those, 0 to 6 are the first branch's.
            "point: 1 channels of point, se.up, se.down, grouped.conv",
            "point#2: 5 channels of point, side, se.up, se.down, grouped.conv",
            "se.down: 4 channels of se.down, se.up",
            // Filter k of both groups, shuffled next to one another, and the same in both halves of the split.
            "grouped.conv: 2 channels of grouped.conv, grouped.bn, branch, hidden",
            "branch: 6 channels of branch, hidden",
            "hidden: 9 channels of hidden, head",
        ];
        Assert.Equal(expected, graph.Groups.Select(g => g.ToString()));
        Assert.Equal(["stem.conv"], graph.Groups.Where(g => g.IsStream).Select(g => g.Name));
        Assert.All(graph.Groups, g => Assert.Null(g.Inexact));
        Assert.Equal(
            [new FixedChannels("stem.conv inputs", 3, "they are the network's input"),
                new FixedChannels("head", 5, "they are the network's output")],
            graph.Fixed);
    }

    [Fact]
    public void SlicesNameTheEntriesAndRolesOfAChannel()
    {
        using var net = new ToyNet(1);
        using Tensor x = ToyNet.Images(1, 1);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        Assert.Equal(
            ["block.conv1.weight 0 Producer 4", "block.bn1.weight 0 Scale 4", "block.bn1.bias 0 NormShift 4",
                "block.bn1.running_mean 0 RunningMean 4", "block.bn1.running_var 0 RunningVariance 4",
                "block.conv2.weight 1 Consumer 4"],
            Text(graph["block.conv1"], 4));
        // Channel 5 of the branch is channel 9 of the concat, nine pixels each.
        Assert.Equal(
            ["branch.weight 0 Producer 5", "branch.bias 0 Bias 5", "hidden.weight 1 Consumer 81,82,83,84,85,86,87,88,89"],
            Text(graph["branch"], 5));
        Assert.Equal(
            ["grouped.conv.weight 0 Producer 1,3,5,7", "grouped.bn.weight 0 Scale 1,3,5,7", "grouped.bn.bias 0 NormShift 1,3,5,7",
                "grouped.bn.running_mean 0 RunningMean 1,3,5,7", "grouped.bn.running_var 0 RunningVariance 1,3,5,7",
                "branch.weight 1 Consumer 2,3", $"hidden.weight 1 Consumer {string.Join(',', Enumerable.Range(18, 18))}"],
            Text(graph["grouped.conv"], 1));
        Assert.Equal("dw.conv.weight", Assert.Single(graph["stem.conv"].Of(ChannelRole.Depthwise)).Name);
    }

    [Fact]
    public void TransformersGiveHeadsAndHiddenUnits()
    {
        var config = new VitConfig
        {
            ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 12, MlpDim = 20, NumHeads = 3, NumLayers = 2, NumClasses = 4,
        };
        using var vit = new VisionTransformer(config);
        using Tensor x = Tensor.Unscoped(new Shape(2, 1, 8, 8));
        x.Fill(0.3f);
        using var graph = ModuleGraphs.Build(vit, vit.Forward, x);
        Assert.Equal(
            [("transformer.embeddings.patch_embeddings", 12), ("transformer.encoder.layer.0.attn.query", 3),
                ("transformer.encoder.layer.0.ffn.fc1", 20), ("transformer.encoder.layer.1.attn.query", 3),
                ("transformer.encoder.layer.1.ffn.fc1", 20)],
            graph.Groups.Select(g => (g.Name, g.Count)));
        Assert.Equal(
            ["query.weight 0 Producer 4,5,6,7", "key.weight 0 Producer 4,5,6,7", "value.weight 0 Producer 4,5,6,7",
                "query.bias 0 Bias 4,5,6,7", "key.bias 0 Bias 4,5,6,7", "value.bias 0 Bias 4,5,6,7",
                "out.weight 1 Consumer 4,5,6,7"],
            Text(graph["transformer.encoder.layer.0.attn.query"], 1)
                .Select(t => t.Replace("transformer.encoder.layer.0.attn.", "")));
        ChannelGroup stream = graph.Groups[0];
        Assert.True(stream.IsStream);
        Assert.Contains("transformer.embeddings.position_embeddings 2 Shift 7", Text(stream, 7));
        Assert.Contains("transformer.embeddings.patch_embeddings.weight 0 Producer 7", Text(stream, 7));
        Assert.All(graph.Groups, g => Assert.Null(g.Inexact));
        Assert.All(graph.Groups.Skip(1), g => Assert.False(g.IsStream));
        Assert.Contains(graph.Fixed, f => f is { Name: "head", Count: 4 });
    }

    [Fact]
    public void ReasonsAreGivenForWhatMustStay()
    {
        using var scope = new Scope();
        var rng = new Rng(1);
        using var conv = new Conv2d(2, 4, 1, ref rng);
        using Tensor x = Tensor.Full(new Shape(1, 2, 3, 3), 1);
        Assert.Equal("they are padded to a constant width", Reason(y => F.Sum(F.Pad(y, [(1, 1), (0, 0), (0, 0)]))));
        Assert.Equal("they are cut into unequal parts", Reason(y => F.Sum(F.Slice(y, 1, 0, 3))));
        Assert.Equal("Softmax needs all of them", Reason(y => F.Sum(F.Softmax(F.GlobalAvgPool2d(y)))));

        string Reason(Func<Tensor, Tensor> after)
        {
            using var graph = ModuleGraphs.Build(conv, t => after(conv.Forward(t)), x);
            Assert.Empty(graph.Groups);
            return graph.Fixed.Single(f => f.Count == 4).Reason;
        }
    }

    [Fact]
    public void UnknownGroupsAreNamed()
    {
        using var net = new ToyNet(1);
        using Tensor x = ToyNet.Images(1, 1);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        Assert.Contains("there are no channels 'stem'", Assert.Throws<EspalierException>(() => graph["stem"]).Message);
        Assert.Contains("5 channels of 'head' must stay: they are the network's output",
            Assert.Throws<EspalierException>(() => graph["head"]).Message);
    }

    private static string[] Text(ChannelGroup group, int channel) =>
        [.. group.Slices.Select(s => $"{s.Name} {s.Axis} {s.Role} {string.Join(',', s.Entries[channel])}")];
}
