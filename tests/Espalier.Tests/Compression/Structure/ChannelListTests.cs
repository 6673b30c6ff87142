using Espalier.Compression;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Structure;

/// <summary>Streams that stay whole while what reads them, or is added to them, becomes narrower.</summary>
public class ChannelListTests
{
    [Fact]
    public void APreActivationBlockLosesInputsAndTheStreamStays()
    {
        using var net = new PreActivationNet();
        using Tensor x = ToyNet.Images(1, 2), other = ToyNet.Images(2, 3);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        Assert.Equal(
            ["select: 6 channels of select, conv1", "conv1: 5 channels of conv1, bn2, conv2", "last: 6 channels of last, head"],
            graph.Groups.Select(g => g.ToString()));
        Assert.Contains(graph.Fixed, f => f is { Name: "stem", Count: 6, Reason: "a list of channels picks from them" });

        // As Network Slimming prunes: the norm's scale and shift are zero first.
        foreach (var (name, t) in net.StateDict())
            if (name is "bn1.weight" or "bn1.bias") t.Span[1] = t.Span[4] = 0;
        float[] before = Logits(net, other);
        RemovalReport report = Removal.Apply(graph, new RemovalPlan().Add(graph["select"], 1, 4));
        Assert.InRange(report.Difference, 0, 1e-6f);
        Assert.InRange(Removal.Difference(before, Logits(net, other)), 0, 1e-6f);
        Assert.Equal([0, 2, 3, 5], net.Select.Index.ToArray());
        Assert.Equal(new Shape(5, 4, 3, 3), net.StateDict().Single(s => s.Name == "conv1.weight").Value.Shape);
        Assert.Equal(new Shape(6), net.StateDict().Single(s => s.Name == "bn1.weight").Value.Shape);
    }

    [Fact]
    public void ABranchLosesFiltersAndLeavesTheirConstantsInTheStream()
    {
        // Zeroed filters, with the norm's constants left: Soft Filter Pruning (arXiv 1808.06866), section 4.
        using var net = new BranchNet();
        using Tensor x = ToyNet.Images(1, 2), other = ToyNet.Images(2, 3);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        Assert.Equal(
            ["conv1: 5 channels of conv1, bn1, conv2", "conv2: 6 channels of conv2, bn2, sum"],
            graph.Groups.Select(g => g.ToString()));
        var plan = new RemovalPlan().Add(graph["conv2"], 0, 3, 4);
        float[] zeroed = Masked(graph, plan, MaskKind.Constant, net, other);
        float[] zero = Masked(graph, plan, MaskKind.Zero, net, other);
        Assert.True(Removal.Difference(zeroed, zero) > 1e-2f);
        RemovalReport report = Removal.Apply(graph, plan);
        Assert.Empty(report.Notes);
        Assert.InRange(Removal.Difference(zeroed, Logits(net, other)), 0, 1e-5f);
        Assert.Equal([1, 2, 5], net.Sum.Index.ToArray());

        // kappa = beta - gamma·mean / sqrt(variance + eps)
        BatchNorm2d norm = net.Norm2Before;
        for (int c = 0; c < 6; c++)
        {
            float deviation = MathF.Sqrt(norm.RunningVariance.Span[c] + 1e-5f);
            float kappa = norm.Bias.Span[c] - norm.Weight.Span[c] * norm.RunningMean.Span[c] / deviation;
            Assert.Equal(c is 0 or 3 or 4 ? kappa : 0, net.Sum.Shift.Span[c], 1e-5f);
        }
    }

    [Fact]
    public void WithoutConstantsABranchCountsAsZero()
    {
        using var net = new BranchNet();
        using Tensor x = ToyNet.Images(1, 2), other = ToyNet.Images(2, 3);
        using var graph = ModuleGraphs.Build(net, net.Forward, x);
        var plan = new RemovalPlan().Add(graph["conv2"], 5).Add(graph["conv1"], 1);
        float[] zero = Masked(graph, plan, MaskKind.Zero, net, other);
        Removal.Apply(graph, plan, new RemovalOptions(MoveConstants: false));
        Assert.InRange(Removal.Difference(zero, Logits(net, other)), 0, 1e-5f);
        Assert.All(net.Sum.Shift.ToArray(), s => Assert.Equal(0, s));
    }

    private static float[] Masked(DependencyGraph graph, RemovalPlan plan, MaskKind kind, BranchNet net, Tensor x)
    {
        using (new MaskedModel(graph, plan, kind)) return Logits(net, x);
    }

    private static float[] Logits(ListNet net, Tensor x)
    {
        using var scope = new Scope();
        net.Training = false;
        return net.Forward(x).ToArray();
    }

    private abstract class ListNet : Module
    {
        public abstract Tensor Forward(Tensor x);

        protected void Randomise(ref Rng rng)
        {
            foreach (var (name, t) in StateDict())
            {
                if (!name.StartsWith("bn")) continue;
                if (name.EndsWith("running_var") || name.EndsWith("weight")) Init.Uniform(t, 0.5f, 1.5f, ref rng);
                else if (name.EndsWith("running_mean") || name.EndsWith("bias")) Init.Uniform(t, -0.5f, 0.5f, ref rng);
            }
        }
    }

    /// <summary>stem, then x + conv2(relu(bn2(conv1(relu(select(bn1(x))))))), then last, mean and head.</summary>
    private sealed class PreActivationNet : ListNet
    {
        private readonly Conv2d stem, conv1, conv2, last;
        private readonly BatchNorm2d norm1, norm2;
        private readonly Linear head;

        public PreActivationNet()
        {
            var rng = new Rng(1);
            stem = Child("stem", new Conv2d(3, 6, 3, ref rng, padding: 1, bias: false));
            norm1 = Child("bn1", new BatchNorm2d(6));
            Select = Child("select", new ChannelSelect(6));
            conv1 = Child("conv1", new Conv2d(6, 5, 3, ref rng, padding: 1, bias: false));
            norm2 = Child("bn2", new BatchNorm2d(5));
            conv2 = Child("conv2", new Conv2d(5, 6, 1, ref rng, bias: false));
            last = Child("last", new Conv2d(6, 6, 1, ref rng));
            head = Child("head", new Linear(6, 4, ref rng));
            Randomise(ref rng);
        }

        public ChannelSelect Select { get; }

        public override Tensor Forward(Tensor x)
        {
            x = stem.Forward(x);
            Tensor y = conv1.Forward(F.Relu(Select.Forward(norm1.Forward(x))));
            x = F.Add(x, conv2.Forward(F.Relu(norm2.Forward(y))));
            return head.Forward(F.GlobalAvgPool2d(F.Relu(last.Forward(x))));
        }
    }

    /// <summary>stem, then relu(x + bn2(conv2(relu(bn1(conv1(x)))))) with a branch that may get narrower, mean and head.</summary>
    private sealed class BranchNet : ListNet
    {
        private readonly Conv2d stem, conv1, conv2;
        private readonly BatchNorm2d norm1, norm2;
        private readonly Linear head;

        public BranchNet()
        {
            var rng = new Rng(2);
            stem = Child("stem", new Conv2d(3, 6, 3, ref rng, padding: 1));
            conv1 = Child("conv1", new Conv2d(6, 5, 3, ref rng, padding: 1, bias: false));
            norm1 = Child("bn1", new BatchNorm2d(5));
            conv2 = Child("conv2", new Conv2d(5, 6, 3, ref rng, padding: 1, bias: false));
            norm2 = Child("bn2", new BatchNorm2d(6));
            Sum = Child("sum", new ChannelAdd(6));
            head = Child("head", new Linear(6, 4, ref rng));
            Randomise(ref rng);
            Norm2Before = new BatchNorm2d(6);
            foreach (var (to, from) in Norm2Before.StateDict().Zip(norm2.StateDict())) to.Value.CopyFrom(from.Value);
        }

        public ChannelAdd Sum { get; }

        public BatchNorm2d Norm2Before { get; }

        public override Tensor Forward(Tensor x)
        {
            x = F.Relu(stem.Forward(x));
            Tensor y = norm2.Forward(conv2.Forward(F.Relu(norm1.Forward(conv1.Forward(x)))));
            return head.Forward(F.GlobalAvgPool2d(F.Relu(Sum.Forward(x, y))));
        }

        public override void Dispose()
        {
            Norm2Before.Dispose();
            base.Dispose();
        }
    }
}
