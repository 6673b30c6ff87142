using Espalier.Compression;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Structure;

public sealed class RemovalPlanTests : IDisposable
{
    private readonly ToyNet net = new(1);
    private readonly Tensor x = ToyNet.Images(1, 1);
    private readonly DependencyGraph graph;
    private readonly string path = Path.GetTempFileName();

    public RemovalPlanTests() => graph = ModuleGraphs.Build(net, net.Forward, x);

    [Fact]
    public void ComesBackFromItsFile()
    {
        var plan = new RemovalPlan().Add(graph["hidden"], 7, 3).Add(graph["branch"], 0).Add(graph["hidden"], 3, 4);
        Assert.Equal(4, plan.Count);
        plan.Save(path);
        RemovalPlan loaded = RemovalPlan.Load(path);
        loaded.Check(graph);
        Assert.Equal(plan.Channels, loaded.Channels);
        Assert.Equal([3, 4, 7], loaded.Channels["hidden"]);
    }

    [Fact]
    public void SummaryTellsShapesParametersAndMultiplyAdds()
    {
        PlanSummary summary = PlanSummary.Of(graph, new RemovalPlan().Add(graph["hidden"], 7, 3).Add(graph["branch"], 5));
        Assert.Equal([("branch", 6, 5), ("hidden", 9, 7)], summary.Groups);
        Assert.Equal(
            [("branch.weight", new Shape(6, 4, 3, 3), new Shape(5, 4, 3, 3)), ("branch.bias", new Shape(6), new Shape(5)),
                ("hidden.weight", new Shape(9, 90), new Shape(7, 81)), ("hidden.bias", new Shape(9), new Shape(7)),
                ("head.weight", new Shape(5, 9), new Shape(5, 7))],
            summary.Tensors);
        Assert.Equal(net.ParameterCount, summary.ParametersBefore);
        Assert.Equal(36 + 1 + (9 * 90 - 7 * 81) + 2 + 10, summary.ParametersBefore - summary.ParametersAfter);
        Assert.Equal(36 * 36 + (9 * 90 - 7 * 81) + 10, summary.MultiplyAddsBefore - summary.MultiplyAddsAfter);
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        net.Training = false;
        net.Forward(x);
        Assert.Equal(recording.Cost.MultiplyAdds, summary.MultiplyAddsBefore);
    }

    /// <summary>Between layers of four channels products are of two widths: half of the middle saves 16 of them, half of all 24, beside
    /// those with the one channel in front and behind.</summary>
    [Fact]
    public void HalfOfAChainSavesMoreThanItsHalves()
    {
        using var scope = new Scope();
        (string Name, Tensor Value)[] weights = [.. new[] { ("a", 4, 1), ("b", 4, 4), ("c", 4, 4), ("d", 1, 4) }.Select(l =>
            ($"{l.Item1}.weight", Tensor.Full(new Shape(l.Item2, l.Item3, 1, 1), 0.5f)))];
        Graph network = Graph.Trace(image => weights.Aggregate(image, (y, w) => F.Relu(F.Conv2d(y, w.Value))), new Shape(1, 1, 1, 1), weights);
        using var chain = DependencyGraph.Build(network, Tensor.Full(new Shape(1, 1, 1, 1), 1));
        RemovalPlan middle = new RemovalPlan().Add(chain["b"], 0, 1),
            all = new RemovalPlan().Add(chain["a"], 0, 1).Add(chain["b"], 0, 1).Add(chain["c"], 0, 1);
        Assert.Equal((40, 40 - 16, 40 - 24 - 2 - 2), (chain.MultiplyAdds(), chain.MultiplyAdds(middle), chain.MultiplyAdds(all)));
    }

    [Fact]
    public void WhatCannotBeCarriedOutIsRefused()
    {
        Refused("the plan removes nothing", new RemovalPlan());
        Refused("leaves nothing of axis 0 of 'branch.weight'", new RemovalPlan().Add(graph["branch"], Enumerable.Range(0, 6)));
        Refused("'branch' has no channel 6: they are 0 to 5", () => new RemovalPlan().Add(graph["branch"], 6));
        Refused("'branch' has no channel -1", () => new RemovalPlan().Add(graph["branch"], -1));
        Refused("there are no channels 'nobody'", Written("""{"format":1,"groups":[{"name":"nobody","of":4,"remove":[1]}]}"""));
        Refused("must stay", Written("""{"format":1,"groups":[{"name":"head","of":5,"remove":[1]}]}"""));
        Refused("6 channels here and 64 there", Written("""{"format":1,"groups":[{"name":"branch","of":64,"remove":[1]}]}"""));
    }

    [Theory]
    [InlineData("{\"format\":1,\"groups\":[", "not a plan")]
    [InlineData("{\"format\":2,\"groups\":[]}", "format 2, not 1")]
    [InlineData("null", "format 0, not 1")]
    [InlineData("{\"format\":1,\"groups\":[{\"name\":\"branch\",\"of\":6}]}", "lacks its name or channels")]
    [InlineData("{\"format\":1,\"groups\":[null]}", "lacks its name or channels")]
    [InlineData("{\"format\":1,\"groups\":[{\"name\":\"branch\",\"of\":6,\"remove\":[6]}]}", "no channel 6")]
    public void DamagedFilesAreNamed(string json, string message) => Refused(message, () => Written(json));

    [Fact]
    public void AMissingFileIsNamed() => Refused("no such file (a plan)", () => RemovalPlan.Load(path + ".none"));

    public void Dispose()
    {
        graph.Dispose();
        net.Dispose();
        x.Dispose();
        File.Delete(path);
    }

    private RemovalPlan Written(string json)
    {
        File.WriteAllText(path, json);
        return RemovalPlan.Load(path);
    }

    private void Refused(string message, RemovalPlan plan) => Refused(message, () => plan.Check(graph));

    private static void Refused(string message, Action action)
    {
        string actual = Assert.Throws<EspalierException>(action).Message;
        Assert.Contains(message, actual);
        Assert.DoesNotContain('\n', actual);
    }
}
