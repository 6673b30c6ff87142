namespace Espalier.Tensors.Tests;

public sealed class TensorOperatorsTests
{
    [Fact]
    public void FormulasAreWrittenAsFormulas()
    {
        using var scope = new Scope();
        Tensor a = Tensor.From(new Shape(3), [1, 2, 4]), b = Tensor.From(new Shape(3), [8, -2, 0.5f]);
        Assert.Equal([9, 0, 4.5f], (a + b).ToArray());
        Assert.Equal([-7, 4, 3.5f], (a - b).ToArray());
        Assert.Equal([8, -4, 2], (a * b).ToArray());
        Assert.Equal([0.125f, -1, 8], (a / b).ToArray());
        Assert.Equal([-1, -2, -4], (-a).ToArray());
        Assert.Equal([3, 4, 6], (a + 2).ToArray());
        Assert.Equal([3, 4, 6], (2 + a).ToArray());
        Assert.Equal([0, 1, 3], (a - 1).ToArray());
        Assert.Equal([0, -1, -3], (1 - a).ToArray());
        Assert.Equal([3, 6, 12], (3 * a).ToArray());
        Assert.Equal([3, 6, 12], (a * 3).ToArray());
        Assert.Equal([0.5f, 1, 2], (a / 2).ToArray());
    }

    [Fact]
    public void TheyAreDifferentiated()
    {
        using var scope = new Scope();
        Tensor x = Tensor.From(new Shape(2), [3, -2]);
        x.RequiresGrad = true;
        using var recording = new Recording();
        recording.Backward(F.Sum((1 - x) * x / 2 + 4 * x - -x));          // (x - x²)/2 + 5x: 5.5 - x
        Assert.Equal([2.5f, 7.5f], x.Grad!.ToArray());
    }
}
