namespace Espalier.Tensors.Tests;

public class ShapeTests
{
    [Fact]
    public void ScalarsHaveOneElementHoweverTheyAreMade()
    {
        Assert.Equal(1, new Shape().Length);
        Assert.Equal(1, default(Shape).Length);
        Assert.Equal(1, new Shape([]).Length);
        Assert.Equal(default, new Shape([]));
    }

    [Fact]
    public void AxesCountFromEitherEnd()
    {
        var shape = new Shape(2, 3, 5);
        Assert.Equal((2, 5, 3), (shape[0], shape[-1], shape[-2]));
        Assert.Equal(30, shape.Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => shape[3]);
        Assert.Throws<ArgumentOutOfRangeException>(() => shape[-4]);
        Assert.Equal(new Shape(2, 3, 7), shape.With(-1, 7));
    }

    [Fact]
    public void EqualityIsByExtents()
    {
        Assert.True(new Shape(2, 3) == new Shape(2, 3));
        Assert.Equal(new Shape(2, 3).GetHashCode(), new Shape(2, 3).GetHashCode());
        Assert.True(new Shape(2, 3) != new Shape(3, 2));
        Assert.True(new Shape(6) != new Shape(6, 1));
        Assert.Equal("[2,3]", new Shape(2, 3).ToString());
    }

    [Fact]
    public void ImpossibleShapesAreRefused()
    {
        Assert.Throws<ArgumentException>(() => new Shape(2, -1));
        Assert.Throws<ArgumentException>(() => new Shape(1, 1, 1, 1, 1, 1, 1));
        Assert.Throws<OverflowException>(() => new Shape(int.MaxValue, int.MaxValue, int.MaxValue));
        Assert.Equal(0, new Shape(4, 0).Length);
    }
}
