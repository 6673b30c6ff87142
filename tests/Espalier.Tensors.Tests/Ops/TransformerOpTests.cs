namespace Espalier.Tensors.Tests.Ops;

/// <summary>Gradients, channel flow and messages of Linear, LayerNorm and AssembleTokens.</summary>
public class TransformerOpTests
{
    [Fact]
    public void LinearGradientsMatchDifferences()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 3, 4), w = GradientCheck.Random(2, 5, 4);
        Tensor b = GradientCheck.Random(3, 5), residual = GradientCheck.Random(4, 3, 5);
        GradientCheck.Check(t => F.Linear(t[0], t[1]), x, w);
        GradientCheck.Check(t => F.Linear(t[0], t[1], t[2], gelu: true), x, w, b);
        GradientCheck.Check(t => F.Linear(t[0], t[1], t[2], t[3], gelu: true), x, w, b, residual);
    }

    [Fact]
    public void LayerNormGradientsMatchDifferences()
    {
        using var scope = new Scope();
        GradientCheck.Check(t => F.LayerNorm(t[0], t[1], t[2], 1e-5f),
            GradientCheck.Random(1, 3, 6), GradientCheck.Random(2, 6), GradientCheck.Random(3, 6));
    }

    [Fact]
    public void TokenGradientsMatchDifferences()
    {
        using var scope = new Scope();
        GradientCheck.Check(t => F.AssembleTokens(t[0], t[1], t[2], t[3]),
            GradientCheck.Random(1, 4, 3), GradientCheck.Random(2, 1, 4, 3), GradientCheck.Random(3, 1, 1, 3), GradientCheck.Random(4, 1, 1, 3));
        // Registers are several rows of one tensor; SigLIP has no token in front.
        GradientCheck.Check(t => F.AssembleTokens(t[0], t[1], t[2], t[3]),
            GradientCheck.Random(1, 4, 3), GradientCheck.Random(2, 1, 5, 3), GradientCheck.Random(3, 1, 1, 3), GradientCheck.Random(4, 1, 2, 3));
        GradientCheck.Check(t => F.AssembleTokens(t[0], t[1]), GradientCheck.Random(1, 4, 3), GradientCheck.Random(2, 1, 2, 3));
    }

    [Fact]
    public void ChannelsFollowWeights()
    {
        Assert.Equal(["y1=z0", "x1=z1"], FlowCheck.Of(t => F.Linear(t[0], t[1]), [3, 4], [5, 4]));
        Assert.Equal(["y1=x1", "y1=z0", "y1=w0"], FlowCheck.Of(t => F.LayerNorm(t[0], t[1], t[2], 1e-5f), [3, 4], [4], [4]));
    }

    [Fact]
    public void WrongShapesAreNamed()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 2, 3);
        Assert.Contains("Linear: x [2,3] and weight [2,2]",
            Assert.Throws<ArgumentException>(() => F.Linear(x, GradientCheck.Random(1, 2, 2))).Message);
        Assert.Contains("LayerNorm: x [2,3]", Assert.Throws<ArgumentException>(() => F.LayerNorm(x, x, x, 1e-5f)).Message);
    }
}
