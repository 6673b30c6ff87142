using Espalier.Compression;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.StochasticDepth;

public sealed class DepthGateTests
{
    [Theory]
    [InlineData(true, 0.75, new float[] { 3, 0 })]
    [InlineData(false, 0.75, new float[] { 1, 0 })]
    [InlineData(null, 0.75, new[] { 2.5f, 0 })]                          // ReLU(2.5, -2.75)
    public void OneBlock(bool? open, double survival, float[] expected)
    {
        using var scope = new Scope();
        using var block = new ToyBlock(x => Tensor.From(x.Shape, [2, -1])) { Training = open is not null };
        block.Gate = Gate(survival, open ?? true);
        Assert.Equal(expected, block.Forward(Vector(1, -2)).ToArray());
    }

    /// <summary>Without an activation the mean over all patterns of gates is what inference gives.</summary>
    [Fact]
    public void LinearBlocksAreExactInTheMean()
    {
        using var scope = new Scope();
        using ToyBlock first = new(x => x, relu: false), second = new(x => F.Mul(x, 2), relu: false);
        double mean = 0;
        foreach (bool a in new[] { false, true })
        {
            foreach (bool b in new[] { false, true })
            {
                (first.Gate, second.Gate) = (Gate(0.75, a), Gate(0.5, b));
                mean += (a ? 0.75 : 0.25) * 0.5 * second.Forward(first.Forward(Vector(1))).Item();
            }
        }
        first.Training = second.Training = false;
        Assert.Equal(3.5, mean, 1e-6);
        Assert.Equal(3.5f, second.Forward(first.Forward(Vector(1))).Item(), 1e-6f);
    }

    [Fact]
    public void WithReluTheMeanIsAnother()
    {
        using var scope = new Scope();
        using var block = new ToyBlock(x => Tensor.From(x.Shape, [2]));
        block.Gate = Gate(0.5, true);
        float open = block.Forward(Vector(-1)).Item();
        block.Gate = Gate(0.5, false);
        Assert.Equal(0.5f, 0.5f * open + 0.5f * block.Forward(Vector(-1)).Item());
        block.Training = false;
        Assert.Equal(0, block.Forward(Vector(-1)).Item());
    }

    [Theory]
    [InlineData(0.75, 0.3, true)]
    [InlineData(0.5, 0.6, true)]
    [InlineData(0.75, 0.2, false)]
    [InlineData(0.75, 0.25, true)]
    [InlineData(0.5, 0.4999, false)]
    public void ADrawBelowTheDeathRateCloses(double survival, double drawn, bool open)
    {
        var gate = new DepthGate(survival);
        gate.Draw(() => drawn);
        Assert.Equal(open, gate.IsOpen);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ABlockThatSurelyRunsDrawsNothing(bool perSample)
    {
        using var scope = new Scope();
        using var block = new ToyBlock(x => x);
        var gate = new DepthGate(1, perSample);
        block.Gate = gate;
        gate.Draw(() => throw new InvalidOperationException("drawn"));
        Assert.Equal([2f, 4], block.Forward(Vector(1, 2)).ToArray());
    }

    [Fact]
    public void AClosedGateDoesNotRunTheBranch()
    {
        using var scope = new Scope();
        using var block = new ToyBlock(_ => throw new InvalidOperationException("run")) { Gate = Gate(0.5, false) };
        Assert.Equal([1f, 0], block.Forward(Vector(1, -2)).ToArray());
    }

    /// <summary>Three images, of which the second goes without the branch; each has its own draw.</summary>
    [Theory]
    [InlineData(false, new float[] { 2, 2, 1, 1, 2, 2 }, 1.75f)]
    [InlineData(true, new[] { 1 + 1 / 0.75f, 1 + 1 / 0.75f, 1, 1, 1 + 1 / 0.75f, 1 + 1 / 0.75f }, 2)]
    public void GatesPerSample(bool inverted, float[] expected, float inference)
    {
        using var scope = new Scope();
        using var block = new ToyBlock(x => x);
        double[] drawn = [0.9, 0.1, 0.3];
        int next = 0;
        var gate = new DepthGate(0.75, perSample: true, inverted);
        block.Gate = gate;
        gate.Draw(() => drawn[next++]);
        Assert.Equal(expected, block.Forward(Tensor.Full(new Shape(3, 1, 1, 2), 1)).ToArray());
        Assert.Equal(3, next);
        block.Training = false;
        Assert.All(block.Forward(Tensor.Full(new Shape(3, 1, 1, 2), 1)).ToArray(), y => Assert.Equal(inference, y));
    }

    [Fact]
    public void InvertedScalingDividesInTraining()
    {
        using var scope = new Scope();
        using var block = new ToyBlock(x => x);
        var gate = new DepthGate(0.8, inverted: true);
        block.Gate = gate;
        Assert.Equal(2.25f, block.Forward(Vector(1)).Item());
        block.Training = false;
        Assert.Equal(2, block.Forward(Vector(1)).Item());
        Assert.Equal(1, gate.Factor);
        Assert.Equal(0.8f, new DepthGate(0.8).Factor);
    }

    /// <summary>The first block of a stage takes every second pixel and pads channels, whether its branch runs or not.</summary>
    [Fact]
    public void AClosedTransitionBlockStillChangesTheShape()
    {
        using var scope = new Scope();
        var rng = new Rng(1);
        using var block = new CifarBlock(2, 4, 2, ref rng) { Gate = Gate(0.5, false) };
        Tensor x = new(new Shape(1, 2, 2, 2));
        for (int i = 0; i < 8; i++) x.Span[i] = i + 1;
        Tensor y = block.Forward(x);
        Assert.Equal(new Shape(1, 4, 1, 1), y.Shape);
        Assert.Equal([0f, 1, 5, 0], y.ToArray());
    }

    private static DepthGate Gate(double survival, bool open)
    {
        var gate = new DepthGate(survival);
        gate.Draw(() => open ? 0.9999 : 0);
        return gate;
    }

    private static Tensor Vector(params float[] values) => Tensor.From(new Shape(1, values.Length, 1, 1), values);

    private sealed class ToyBlock(Func<Tensor, Tensor> branch, bool relu = true) : ResidualBlock
    {
        public override bool HasIdentityShortcut => true;

        public override Tensor Branch(Tensor x) => branch(x);

        public override Tensor Shortcut(Tensor x) => x;

        protected override Tensor Activate(Tensor sum) => relu ? base.Activate(sum) : sum;
    }
}
