namespace Espalier.Tensors.Tests;

public class TensorTests
{
    [Fact]
    public void ValuesComeBackInRowMajorOrder()
    {
        using var scope = new Scope();
        Tensor t = Tensor.From(new Shape(2, 3), [1, 2, 3, 4, 5, 6]);
        Assert.Equal([1, 2, 3, 4, 5, 6], t.ToArray());
        Assert.Equal([0, 0], Tensor.Zeros(new Shape(2)).ToArray());
        Assert.Equal(7, Tensor.Scalar(7).Item());
        Assert.Throws<ArgumentException>(() => Tensor.From(new Shape(2), [1, 2, 3]));
        Assert.Throws<InvalidOperationException>(() => t.Item());
    }

    [Fact]
    public void ClonesAreApartAndViewsAreNot()
    {
        using var scope = new Scope();
        Tensor t = Tensor.Full(new Shape(2, 2), 1), clone = t.Clone(), view = t.View(new Shape(4));
        t.Span[3] = 9;
        Assert.Equal(1, clone.Span[3]);
        Assert.Equal(9, view.Span[3]);
        Assert.Throws<ArgumentException>(() => t.View(new Shape(3)));
        Assert.Throws<ArgumentException>(() => t.CopyFrom(Tensor.Scalar(1)));
    }

    [Fact]
    public void ADisposedTensorIsNotRead()
    {
        Tensor t = Tensor.Unscoped(new Shape(2));
        t.Dispose();
        t.Dispose();
        Assert.Throws<ObjectDisposedException>(() => t.Span[0]);
        Assert.Throws<ObjectDisposedException>(() => t.View(new Shape(2)));
    }

    [Fact]
    public void EmptyTensorsAreLegal()
    {
        using var scope = new Scope();
        Tensor t = Tensor.Zeros(new Shape(0, 5));
        Assert.Equal(0, t.Length);
        Assert.Empty(t.Clone().ToArray());
    }
}
