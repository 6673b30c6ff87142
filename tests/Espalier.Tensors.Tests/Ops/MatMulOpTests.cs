namespace Espalier.Tensors.Tests.Ops;

public class MatMulOpTests
{
    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void GradientMatchesDifferences(bool transposeA, bool transposeB)
    {
        using var scope = new Scope();
        int[] a = transposeA ? [3, 2] : [2, 3], b = transposeB ? [4, 3] : [3, 4];
        GradientCheck.Check(t => F.MatMul(t[0], t[1], transposeA, transposeB),
            GradientCheck.Random(1, a), GradientCheck.Random(2, b));
        GradientCheck.Check(t => F.MatMul(t[0], t[1], transposeA, transposeB),
            GradientCheck.Random(1, [3, .. a]), GradientCheck.Random(2, [3, .. b]));
    }

    [Fact]
    public void CostCountsMultiplyAdds()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        F.MatMul(GradientCheck.Random(1, 5, 2, 3), GradientCheck.Random(2, 5, 3, 4));
        Assert.Equal(new Cost(5 * 2 * 3 * 4, 4 * 5 * (6 + 12 + 8)), recording.Cost);
    }

    [Fact]
    public void InnerAxesAreCoupled()
    {
        Assert.Equal(["y0=x0", "y1=z1", "x1=z0"], FlowCheck.Of(t => F.MatMul(t[0], t[1]), [2, 3], [3, 4]));
        Assert.Equal(["y1=x2", "y2=z1", "x1=z2", "y0=x0", "y0=z0"],
            FlowCheck.Of(t => F.MatMul(t[0], t[1], true, true), [5, 3, 2], [5, 4, 3]));
    }

    [Fact]
    public void WrongShapesAreNamed()
    {
        using var scope = new Scope();
        Tensor a = GradientCheck.Random(1, 2, 3);
        Assert.Contains("MatMul: a [2,3]ᵀ and b [3,4]",
            Assert.Throws<ArgumentException>(() => F.MatMul(a, GradientCheck.Random(2, 3, 4), transposeA: true)).Message);
        Assert.Throws<ArgumentException>(() => F.MatMul(a, GradientCheck.Random(2, 2, 3, 4)));
    }
}
