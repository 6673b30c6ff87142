using Espalier.Compression.Methods.SoftFilter;
using Espalier.Compression;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

/// <summary>Where the constant of a zeroed filter goes.</summary>
public sealed class LastZeroingTests
{
    /// <summary>
    /// A channel of 0.5 through a 3x3 filter of ones with a border of zeros is 4.5 inside, 3 at edges and 2 in corners. The bias
    /// that takes its place is 4.5 everywhere.
    /// </summary>
    [Fact]
    public void TheBiasIsWhatTheInteriorSees()
    {
        using var net = new TwoLayers();
        using var scope = new Scope();
        Tensor x = Tensor.Full(new Shape(1, 1, 4, 4), 1);
        float[] before = net.Forward(x).ToArray();
        Assert.Equal([2, 3, 3, 2, 3, 4.5f, 4.5f, 3, 3, 4.5f, 4.5f, 3, 2, 3, 3, 2], before);
        using DependencyGraph graph = ModuleGraphs.Build(net, net.Forward, x);
        RemovalPlan plan = new RemovalPlan().Add(graph["first"], 0);
        var (difference, notes) = LastZeroing.Run(graph, plan);
        Assert.Equal(4.5f, net.Bias);
        Assert.Equal(2.5f, difference);
        Assert.Contains("zero-padded border", Assert.Single(notes));
        Assert.Equal(0, Removal.Apply(graph, plan).Difference);
        Assert.All(net.Forward(x).ToArray(), v => Assert.Equal(4.5f, v));
    }

    /// <summary>What a zeroed filter emits behind a batch norm is beta - gamma · mean / sqrt(variance + eps), here -1.89996, -0.49996 and
    /// 0.50004; what a ReLU leaves of it goes through nine weights of 1 into the bias.</summary>
    [Theory]
    [InlineData(0.1f, 0)]
    [InlineData(1.5f, 0)]
    [InlineData(2.5f, 9 * 0.50004f)]
    public void TheConstantIsTheNorms(float beta, float expected)
    {
        using var net = new TwoLayers(gamma: 2, beta, mean: 0.5f, variance: 0.25f);
        using var scope = new Scope();
        using DependencyGraph graph = ModuleGraphs.Build(net, net.Forward, Tensor.Full(new Shape(1, 1, 4, 4), 1));
        LastZeroing.Run(graph, new RemovalPlan().Add(graph["first"], 0));
        Assert.Equal(expected, net.Bias, 1e-4f);
    }

    /// <summary>Two filters, of which the first is zero and emits 0.5 behind its norm; the second is not read.</summary>
    private sealed class TwoLayers : Module
    {
        private readonly Conv2d first, second;
        private readonly BatchNorm2d norm;

        public TwoLayers(float gamma = 1, float beta = 0.5f, float mean = 0, float variance = 1)
        {
            var rng = new Rng(1);
            first = Child("first", new Conv2d(1, 2, 1, ref rng, bias: false));
            norm = Child("norm", new BatchNorm2d(2));
            second = Child("second", new Conv2d(2, 1, 3, ref rng, padding: 1));
            first.Weight.Span[0] = 0;
            norm.Weight.Span[0] = gamma;
            norm.Bias.Span[0] = beta;
            norm.RunningMean.Span[0] = mean;
            norm.RunningVariance.Span[0] = variance;
            second.Weight.Span[..9].Fill(1);
            second.Weight.Span[9..].Clear();
            second.Bias!.Fill(0);
            Training = false;
        }

        public float Bias => second.Bias!.Span[0];

        public Tensor Forward(Tensor x) => second.Forward(F.Relu(norm.Forward(first.Forward(x))));
    }
}
