namespace Espalier.Tensors.Tests.Ops;

/// <summary>KlDivergence, Mse and LogSoftmax.</summary>
public class DistillationOpTests
{
    [Theory]
    [InlineData(1f, 1.1504208)]
    [InlineData(2f, 1.2806267)]
    [InlineData(4f, 1.3196299)]
    public void DivergenceOfTwoRowsThatAreKnown(float temperature, double timesSquare)
    {
        using var scope = new Scope();
        Tensor s = Tensor.From(new Shape(1, 3), [1, 2, 3]), t = Tensor.From(new Shape(1, 3), [3, 2, 1]);
        Assert.Equal(timesSquare, temperature * temperature * F.KlDivergence(s, t, temperature).Item(), 1e-6);
        Assert.Equal(0, F.KlDivergence(s, s, temperature).Item());
    }

    [Fact]
    public void GradientsMatchDifferences()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 3, 5), other = GradientCheck.Random(2, 3, 5);
        GradientCheck.Check(t => F.KlDivergence(t[0], other, 2), x);
        GradientCheck.Check(t => F.Mse(t[0], t[1]), x, other);
        GradientCheck.Check(t => F.LogSoftmax(t[0]), x);
    }

    [Fact]
    public void ClassesAreFixed()
    {
        Assert.Equal(["x1=z1", "!x1"], FlowCheck.Of(t => F.KlDivergence(t[0], t[1]), [2, 3], [2, 3]));
        Assert.Equal(["x0=z0", "x1=z1"], FlowCheck.Of(t => F.Mse(t[0], t[1]), [2, 3], [2, 3]));
        Assert.Equal(["y0=x0", "y1=x1", "!x1"], FlowCheck.Of(t => F.LogSoftmax(t[0]), [2, 3]));
    }

    [Fact]
    public void WrongOperandsAreNamed()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 2, 3), y = GradientCheck.Random(1, 3, 2);
        Assert.Contains("KlDivergence: student [2,3] and teacher [3,2]",
            Assert.Throws<ArgumentException>(() => F.KlDivergence(x, y)).Message);
        Assert.Contains("Mse: x [2,3] and target [3,2]", Assert.Throws<ArgumentException>(() => F.Mse(x, y)).Message);
    }
}
