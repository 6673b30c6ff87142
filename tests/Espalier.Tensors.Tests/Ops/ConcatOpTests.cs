namespace Espalier.Tensors.Tests.Ops;

public class ConcatOpTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(-1)]
    public void GradientMatchesDifferences(int axis)
    {
        using var scope = new Scope();
        Tensor a = GradientCheck.Random(1, 2, 3, 2);
        Tensor b = GradientCheck.Random(2, a.Shape.With(axis, 4).ToArray());
        GradientCheck.Check(t => F.Concat(axis, t[0], t[1], t[0]), a, b);
    }

    [Theory]
    [InlineData(0, 3, 100_000)]
    [InlineData(1, 3, 100_000)]
    [InlineData(1, 5000, 33)]
    public void SlicesOfALargeConcatAreItsParts(int axis, int rows, int columns)
    {
        using var scope = new Scope();
        Tensor a = GradientCheck.Random(1, rows, columns), b = GradientCheck.Random(2, a.Shape.With(axis, 7).ToArray());
        Tensor y = F.Concat(axis, a, b);
        Assert.True(a.Span.SequenceEqual(F.Slice(y, axis, 0, a.Shape[axis]).Span));
        Assert.True(b.Span.SequenceEqual(F.Slice(y, axis, a.Shape[axis], 7).Span));
    }

    [Fact]
    public void ChannelsOfEachPartAreAStretchOfTheResult()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor a = GradientCheck.Random(1, 2, 3), b = GradientCheck.Random(2, 2, 4), y = F.Concat(1, a, b);
        Assert.Equal(
            [
                new Coupling(y, 0, 0, 1, a, 0, 0, 1, 2), new Coupling(y, 1, 0, 1, a, 1, 0, 1, 3),
                new Coupling(y, 0, 0, 1, b, 0, 0, 1, 2), new Coupling(y, 1, 3, 1, b, 1, 0, 1, 4),
            ],
            recording.Flow().Couplings);
    }

    [Fact]
    public void WrongShapesAreNamed()
    {
        using var scope = new Scope();
        var e = Assert.Throws<ArgumentException>(() => F.Concat(0, GradientCheck.Random(1, 2, 3), GradientCheck.Random(1, 2, 4)));
        Assert.Contains("Concat: [2,3] and [2,4]", e.Message);
    }
}
