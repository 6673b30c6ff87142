using Espalier.Compression;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Structure;

/// <summary>The published networks, made narrow: all that the graph says can be removed is removed at random.</summary>
public class NetworkTests
{
    [Theory]
    [InlineData("vgg11", 32, 10, 0)]
    [InlineData("vgg11_bn", 32, 10, 0)]
    [InlineData("resnet18", 32, 12, 4)]
    [InlineData("resnet50", 32, 37, 4)]                 // the stem, two in each of 16 blocks, four stages
    [InlineData("resnet20", 32, 9, 0)]                  // its shortcuts pad channels to a constant width
    [InlineData("preresnet20", 32, 19, 0)]              // a list and two norms in each of 6 blocks, the last list
    [InlineData("densenet40", 32, 39, 0)]               // the lists
    [InlineData("densenet121", 32, 120, 0)]
    [InlineData("mobilenet_v2", 32, 25, 5)]             // stem, 16 expansions, 7 outputs, of which 5 are of several blocks, top
    [InlineData("efficientnet_b0", 32, 34, 5)]          // as before, and the squeezed layers that have more than one channel
    [InlineData("xception", 64, 28, 4)]
    [InlineData("shufflenet_v2_x1_0", 32, 18, 0)]       // the branches' inside; shuffles tie each stage's channels all together
    public void RemovalEqualsMasking(string name, int size, int groups, int streams)
    {
        using ImageClassifier net = CnnPresets.Create(
            new CnnConfig(name) { ImageSize = size, NumClasses = 7, Width = 0.125 });
        Randomise(net);
        using Tensor x = Tensor.Unscoped(new Shape(2, 3, size, size));
        var rng = new Rng(3);
        Init.Normal(x, 1, ref rng);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        var plan = new RemovalPlan();
        foreach (ChannelGroup group in graph.Groups)
            for (int k = 1; k < group.Count; k++)
                if (rng.NextFloat(0, 1) < 0.3f) plan.Add(group, k);
        RemovalReport report = Removal.Apply(graph, plan, new RemovalOptions(MoveConstants: false));
        float[] logits = Logits(net, x);
        Assert.True(logits.Max(Math.Abs) > 1e-3f, "the logits say nothing");
        Assert.InRange(report.Difference, 0, 1e-4f * Math.Max(1, logits.Max(Math.Abs)));
        Assert.Equal(report.Summary.ParametersAfter, net.ParameterCount);
        Assert.True(report.Summary.ParametersAfter < 0.8 * report.Summary.ParametersBefore);
        Assert.Equal((groups, streams), (graph.Groups.Count, graph.Groups.Count(g => g.IsStream)));
    }

    private static float[] Logits(ImageClassifier net, Tensor x)
    {
        using var scope = new Scope();
        net.Training = false;
        return net.Forward(x).ToArray();
    }

    private static void Randomise(Module net)
    {
        var rng = new Rng(1);
        foreach (var (name, t) in net.StateDict())
        {
            if (name.EndsWith(".index")) continue;
            if (name.EndsWith("running_var")) Init.Uniform(t, 0.5f, 1.5f, ref rng);
            else if (t.Rank == 1 && name.EndsWith("weight")) Init.Uniform(t, 0.5f, 1.5f, ref rng);
            else if (t.Rank == 1) Init.Uniform(t, -0.2f, 0.2f, ref rng);
        }
    }
}
