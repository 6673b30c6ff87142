namespace Espalier.Tensors.Tests.Memory;

public class ScopeTests
{
    [Fact]
    public void TensorsEndWithTheInnermostScope()
    {
        using var outer = new Scope();
        Tensor a = Tensor.Scalar(1), b, parameter, free;
        using (new Scope())
        {
            b = Tensor.Scalar(2);
            parameter = Tensor.Parameter(new Shape(2));
            free = Tensor.Unscoped(new Shape(2));
        }
        Assert.Equal(1, a.Item());
        Assert.Throws<ObjectDisposedException>(() => b.Item());
        Assert.Equal([0f, 0f], parameter.ToArray());
        free.Fill(3);
        Assert.Equal([3f, 3f], free.ToArray());
        parameter.Dispose();
        free.Dispose();
    }

    [Fact]
    public void KeepMovesATensorOutByOneScope()
    {
        Tensor kept, keptTwice;
        using (new Scope())
        {
            using (new Scope())
            {
                kept = Tensor.Scalar(1).Keep();
                keptTwice = Tensor.Scalar(2).Keep().Keep();
            }
            Assert.Equal(1, kept.Item());
        }
        Assert.Throws<ObjectDisposedException>(() => kept.Item());
        Assert.Equal(2, keptTwice.Item());
        keptTwice.Dispose();
    }

    [Fact]
    public void EndingTwiceIsHarmlessAndOutOfOrderIsNot()
    {
        var outer = new Scope();
        var inner = new Scope();
        Assert.Throws<InvalidOperationException>(outer.Dispose);
        inner.Dispose();
        inner.Dispose();
        outer.Dispose();
        outer.Dispose();
        // Nothing is open any more: this tensor belongs to nobody.
        using Tensor free = Tensor.Scalar(1);
        using (new Scope()) { }
        Assert.Equal(1, free.Item());
    }

    [Fact]
    public void EveryThreadHasItsOwn()
    {
        using var scope = new Scope();
        Tensor? other = null;
        var thread = new Thread(() => other = Tensor.Scalar(4));
        thread.Start();
        thread.Join();
        scope.Dispose();
        Assert.Equal(4, other!.Item());
        other.Dispose();
    }
}
