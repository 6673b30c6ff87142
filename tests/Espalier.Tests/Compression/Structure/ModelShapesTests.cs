using Espalier.Compression;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Structure;

public class ModelShapesTests
{
    [Fact]
    public void AFreshNetworkTakesTheSmallerWeights()
    {
        using ToyNet pruned = new(1), fresh = new(2);
        using Tensor x = ToyNet.Images(1, 2);
        using (var graph = ModuleGraphs.Build(pruned, pruned.Forward, x))
        {
            var plan = new RemovalPlan().Add(graph["stem.conv"], 1, 6).Add(graph["grouped.conv"], 0).Add(graph["hidden"], 4);
            Removal.Apply(graph, plan);
        }
        ModelShapes.Apply(fresh, pruned.StateDict().ToDictionary(s => s.Name, s => s.Value.Shape));
        foreach (var (to, from) in fresh.StateDict().Zip(pruned.StateDict())) to.Value.CopyFrom(from.Value);
        pruned.Training = fresh.Training = false;
        using var scope = new Scope();
        Assert.Equal(pruned.Forward(x).ToArray(), fresh.Forward(x).ToArray());
    }

    [Fact]
    public void ShapesThatPruningCannotLeaveAreRefused()
    {
        using var net = new ToyNet(1);
        long before = net.ParameterCount;
        foreach (Shape wrong in (Shape[])[new(9, 3, 3, 3), new(0, 3, 3, 3), new(8, 27)])
        {
            var shapes = new Dictionary<string, Shape> { ["head.bias"] = new(2), ["stem.conv.weight"] = wrong };
            string message = Assert.Throws<EspalierException>(() => ModelShapes.Apply(net, shapes)).Message;
            Assert.Contains("'stem.conv.weight' has shape", message);
        }
        Assert.Equal(before, net.ParameterCount);
    }
}
