using Espalier.Compression;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Structure;

public class RemovalTests
{
    private const float Rounding = 1e-5f;

    private static readonly RemovalOptions Zeros = new(MoveConstants: false);

    [Fact]
    public void EveryGroupAloneEqualsTheMaskedNetwork()
    {
        string[] names;
        using (var net = new ToyNet(3))
        using (Tensor x = ToyNet.Images(3, 2))
        using (var graph = ModuleGraphs.Build(net, net.Forward, x))
            names = [.. graph.Groups.Select(g => g.Name)];
        Assert.Equal(8, names.Length);
        foreach (string name in names) Compare(3, graph => new RemovalPlan().Add(graph[name], 0));
    }

    [Fact]
    public void RandomPlansEqualTheMaskedNetwork()
    {
        for (ulong seed = 0; seed < 25; seed++) Compare(seed, graph => RandomPlan(graph, seed));
    }

    [Fact]
    public void ConstantsMoveIntoWhatFollows()
    {
        int moved = 0;
        for (ulong seed = 0; seed < 12; seed++)
        {
            using var net = new ToyNet(seed, kernel: 1);
            using Tensor x = ToyNet.Images(seed, 2), other = ToyNet.Images(seed + 100, 3);
            using var graph = ModuleGraphs.Build(net, net.Forward, x);
            RemovalPlan plan = RandomPlan(graph, seed);
            float[] masked = Masked(graph, plan, MaskKind.Constant, net, other);
            bool constant = Removal.Difference(masked, Masked(graph, plan, MaskKind.Zero, net, other)) > 1e-3f;
            RemovalReport report = Removal.Apply(graph, plan);
            Assert.Empty(report.Notes);
            Assert.InRange(report.Difference, 0, Rounding);
            Assert.InRange(Removal.Difference(masked, Logits(net, other)), 0, Rounding);
            if (constant) moved++;
        }
        Assert.True(moved > 6, $"only {moved} of the plans had constants to move");
    }

    [Fact]
    public void ZeroPaddedBordersAreReported()
    {
        using var net = new ToyNet(1);
        using Tensor x = ToyNet.Images(1, 2);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        foreach (var (name, t) in net.StateDict()) if (name == "block.bn1.bias") t.Fill(2);
        RemovalReport report = Removal.Apply(graph, new RemovalPlan().Add(graph["block.conv1"], 1));
        Assert.Contains("block.conv2.weight", Assert.Single(report.Notes));
        Assert.True(report.Difference > 1e-4f);
    }

    [Fact]
    public void OneByOneAndOnePassGiveTheSameWeights()
    {
        using ToyNet once = new(5), often = new(5);
        using Tensor x = ToyNet.Images(5, 1);
        using (var graph = ModuleGraphs.Build(once, once.Forward, x))
            Removal.Apply(graph, new RemovalPlan().Add(graph["stem.conv"], 2, 5, 7).Add(graph["hidden"], 0, 8), Zeros);
        // Channels 2, 5 and 7: each that goes moves those behind it down by one.
        (string, int)[] steps = [("stem.conv", 2), ("stem.conv", 4), ("stem.conv", 5), ("hidden", 8), ("hidden", 0)];
        foreach (var (name, channel) in steps)
        {
            using var graph = ModuleGraphs.Build(often, often.Forward, x);
            Removal.Apply(graph, new RemovalPlan().Add(graph[name], channel), Zeros);
        }
        Assert.Equal(once.StateDict().Select(s => s.Value.Shape), often.StateDict().Select(s => s.Value.Shape));
        Assert.Equal(once.StateDict().Select(s => s.Value.ToArray()), often.StateDict().Select(s => s.Value.ToArray()));
    }

    [Fact]
    public void ChannelsThatNobodyReadsLeaveTheLogitsUnchanged()
    {
        using var net = new ToyNet(2);
        using Tensor x = ToyNet.Images(2, 2);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        ChannelGroup group = graph["block.conv1"];
        GroupSlice reader = Assert.Single(group.Of(ChannelRole.Consumer));
        for (int o = 0; o < reader.Tensor.Shape[0]; o++)
            for (int t = 0; t < 9; t++) reader.Tensor.Span[(o * 6 + 3) * 9 + t] = 0;
        float[] before = Logits(net, x);
        Removal.Apply(graph, new RemovalPlan().Add(group, 3));
        Assert.InRange(Removal.Difference(before, Logits(net, x)), 0, 1e-6f);
    }

    [Fact]
    public void HeadsAndHiddenUnitsOfATransformer()
    {
        var config = new VitConfig
        {
            ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 12, MlpDim = 20, NumHeads = 3, NumLayers = 2, NumClasses = 4,
        };
        using var vit = new VisionTransformer(config);
        var rng = new Rng(1);
        foreach (Tensor p in vit.Parameters().Where(p => p.Rank == 1 || p.Shape[0] == 4)) Init.Normal(p, 0.3f, ref rng);
        using Tensor x = Tensor.Unscoped(new Shape(2, 1, 8, 8));
        Init.Normal(x, 1, ref rng);
        using var graph = ModuleGraphs.Build(vit, vit.Forward, x);
        var plan = new RemovalPlan().Add(graph["transformer.encoder.layer.0.attn.query"], 1)
            .Add(graph["transformer.encoder.layer.1.attn.query"], 0, 2)
            .Add(graph["transformer.encoder.layer.0.ffn.fc1"], 3, 4, 19);
        RemovalReport report = Removal.Apply(graph, plan);
        Assert.Empty(report.Notes);
        Assert.InRange(report.Difference, 0, Rounding);
        Assert.Equal(report.Summary.ParametersAfter, vit.ParameterCount);
        Assert.Equal(report.Summary.MultiplyAddsAfter, vit.CountMultiplyAdds());
        Assert.Equal(
            [new Shape(8, 12), new Shape(4, 12), new Shape(17, 12)],
            vit.StateDict().Where(s => s.Name is "transformer.encoder.layer.0.attn.key.weight"
                or "transformer.encoder.layer.1.attn.key.weight" or "transformer.encoder.layer.0.ffn.fc1.weight")
                .OrderBy(s => s.Name.Contains("fc1")).Select(s => s.Value.Shape));
    }

    [Fact]
    public void TheOptimisersStateIsCutLikeTheWeights()
    {
        using var net = new ToyNet(4);
        using Tensor x = ToyNet.Images(4, 2);
        using var optimizer = new Adam(ParameterGroup.Of(net));
        using (new Scope())
        using (var recording = new Recording())
        {
            recording.Backward(F.CrossEntropy(net.Forward(x), [1, 2]));
            optimizer.Step(1e-3f);
        }
        var before = optimizer.State().ToDictionary(s => s.Name, s => s.Value.ToArray());
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        Removal.Apply(graph, new RemovalPlan().Add(graph["block.conv1"], 0, 2), new RemovalOptions(Optimizer: optimizer));
        var after = optimizer.State().ToDictionary(s => s.Name, s => s.Value);
        Assert.Equal(before.Keys, after.Keys);
        string slot = before.Keys.First(k => k.EndsWith("/block.bn1.weight")).Split('/')[0];
        float[] moment = before[$"{slot}/block.bn1.weight"];
        Assert.NotEqual(0, moment[1]);
        Assert.Equal([moment[1], moment[3], moment[4], moment[5]], after[$"{slot}/block.bn1.weight"].ToArray());
        Assert.Equal(new Shape(8, 4, 3, 3), after[$"{slot}/block.conv2.weight"].Shape);
        foreach (var (name, value) in net.NamedParameters()) Assert.Equal(value.Shape, after[$"{slot}/{name}"].Shape);
        using (new Scope())
        using (var recording = new Recording())
        {
            recording.Backward(F.CrossEntropy(net.Forward(x), [1, 2]));
            optimizer.Step(1e-3f);
        }
    }

    [Fact]
    public void AnOptimiserThatWasForgottenSaysSo()
    {
        using var net = new ToyNet(4);
        using Tensor x = ToyNet.Images(4, 2);
        using var optimizer = new Sgd(ParameterGroup.Of(net), momentum: 0.9f);
        Step();
        using (var graph = ModuleGraphs.Build(net, net.Forward, x))
            Removal.Apply(graph, new RemovalPlan().Add(graph["block.conv1"], 0));
        Assert.Contains("was pruned to", Assert.Throws<InvalidOperationException>(Step).Message);

        void Step()
        {
            using var scope = new Scope();
            using var recording = new Recording();
            recording.Backward(F.CrossEntropy(net.Forward(x), [1, 2]));
            optimizer.Step(1e-3f);
        }
    }

    [Fact]
    public void TryingAPlanBringsTheNetworkBack()
    {
        using var net = new ToyNet(6);
        using Tensor x = ToyNet.Images(6, 2);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        float[] before = Logits(net, x);
        RemovalPlan plan = RandomPlan(graph, 6);
        float[] masked = Masked(graph, plan, MaskKind.Zero, net, x);
        long small;
        using (Removal.Try(graph, plan))
        {
            Assert.InRange(Removal.Difference(masked, Logits(net, x)), 0, Rounding);
            small = net.ParameterCount;
        }
        Assert.Equal(before, Logits(net, x));
        Assert.Equal(PlanSummary.Of(graph, plan).ParametersAfter, small);
    }

    [Fact]
    public void AStaleGraphIsRefused()
    {
        using var net = new ToyNet(7);
        using Tensor x = ToyNet.Images(7, 1);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        var plan = new RemovalPlan().Add(graph["block.conv1"], 0);
        Removal.Apply(graph, plan);
        Assert.Contains("build another", Assert.Throws<EspalierException>(() => Removal.Apply(graph, plan)).Message);
    }

    /// <summary>Removes, and compares with the masked network on images that the removal did not see.</summary>
    private static void Compare(ulong seed, Func<DependencyGraph, RemovalPlan> plan)
    {
        using var net = new ToyNet(seed);
        using Tensor x = ToyNet.Images(seed, 2), other = ToyNet.Images(seed + 100, 3);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        RemovalPlan remove = plan(graph);
        float[] full = Logits(net, other), masked = Masked(graph, remove, MaskKind.Zero, net, other);
        Assert.Equal(full, Logits(net, other));
        RemovalReport report = Removal.Apply(graph, remove, Zeros);
        float[] small = Logits(net, other);
        string what = string.Join(", ", remove.Channels.Select(c => $"{c.Key} [{string.Join(',', c.Value)}]"));
        Assert.True(Removal.Difference(masked, small) <= Rounding, $"{what}: {Removal.Difference(masked, small)}");
        if (remove.Count > 1) Assert.True(Removal.Difference(full, small) > 1e-4f, $"{what} removed nothing that counts");
        Assert.InRange(report.Difference, 0, Rounding);
        Assert.Equal(report.Summary.ParametersAfter, net.ParameterCount);
        using var recording = new Recording(gradients: false);
        using var scope = new Scope();
        net.Forward(x);
        Assert.Equal(report.Summary.MultiplyAddsAfter, recording.Cost.MultiplyAdds / 2);
    }

    private static RemovalPlan RandomPlan(DependencyGraph graph, ulong seed)
    {
        var rng = new Rng(seed, key0: 9);
        var plan = new RemovalPlan();
        foreach (ChannelGroup group in graph.Groups)
        {
            for (int k = 1; k < group.Count; k++)
                if (rng.NextFloat(0, 1) < 0.4f) plan.Add(group, k);
        }
        return plan.Add(graph["hidden"], 2);
    }

    private static float[] Masked(DependencyGraph graph, RemovalPlan plan, MaskKind kind, ToyNet net, Tensor x)
    {
        using (new MaskedModel(graph, plan, kind)) return Logits(net, x);
    }

    private static float[] Logits(ToyNet net, Tensor x)
    {
        using var scope = new Scope();
        bool training = net.Training;
        net.Training = false;
        float[] logits = net.Forward(x).ToArray();
        net.Training = training;
        return logits;
    }
}
