namespace Espalier.Tensors.Tests.Graphs;

public class RecordingTests
{
    [Fact]
    public void NothingIsRecordedOutside()
    {
        using var scope = new Scope();
        Tensor w = Weight(3), y = F.Square(w);
        Assert.False(y.RequiresGrad);
        using var recording = new Recording();
        Assert.Empty(recording.Ops);
        Assert.Throws<InvalidOperationException>(() => recording.Backward(y));
    }

    /// <summary>Rather than without a gradient and without a word.</summary>
    [Fact]
    public void BackwardNeedsTheOpenRecordingThatMadeTheResult()
    {
        using var scope = new Scope();
        Tensor w = Weight(3), y;
        var recording = new Recording();
        y = F.Square(w);
        using (var inner = new Recording()) Assert.Throws<InvalidOperationException>(() => inner.Backward(y));
        recording.Dispose();
        Assert.Throws<ObjectDisposedException>(() => recording.Backward(y));
        Assert.Null(w.Grad);
    }

    [Fact]
    public void ARecordingThatWasEndedTooEarlyCanStillBeEnded()
    {
        var outer = new Recording();
        var inner = new Recording();
        Assert.Throws<InvalidOperationException>(outer.Dispose);
        inner.Dispose();
        outer.Dispose();
        Assert.Null(Recording.Current);
    }

    /// <summary>A sum, a reshape and a residual hand their gradient's memory on: who adds to it must not change another's.</summary>
    [Fact]
    public void AGradientThatIsHandedOnBelongsToOneTensorOnly()
    {
        using var scope = new Scope();
        Tensor x = Ops.GradientCheck.Random(1, 3, 4), w = Ops.GradientCheck.Random(2, 4, 4), v = Ops.GradientCheck.Random(3, 3, 4);
        Ops.GradientCheck.Check(
            t =>
            {
                Tensor a = F.Mul(t[0], 2), b = F.Mul(t[2], 3);
                Tensor sum = F.Reshape(F.Reshape(F.Add(a, b), 12), 3, 4);
                Tensor twice = F.Add(sum, sum), own = F.Linear(twice, t[1], null, twice, gelu: true);
                return F.Add(F.Mul(F.Add(own, F.Mul(a, b)), sum), F.Linear(own, t[1], null, own));
            },
            x, w, v);
    }

    [Fact]
    public void GradientsOfAllPathsAddUp()
    {
        using var scope = new Scope();
        using var recording = new Recording();
        Tensor w = Weight(3), square = F.Square(w);
        recording.Backward(F.Add(F.Mul(square, w), square)); // w³ + w²
        Assert.Equal(33, w.Grad!.Item());
        Assert.Null(square.Grad);
    }

    [Fact]
    public void TwoLossesOfOneRecordingAddUp()
    {
        using var scope = new Scope();
        using var recording = new Recording();
        Tensor w = Weight(3), square = F.Square(w), first = F.Mul(square, 2), second = F.Mul(square, w);
        recording.Backward(first);
        Assert.Equal(12, w.Grad!.Item());
        recording.Backward(second, 0.5f);
        Assert.Equal(12 + 13.5f, w.Grad!.Item());
        w.ClearGrad();
        recording.Backward(first);
        Assert.Equal(12, w.Grad!.Item());
    }

    [Fact]
    public void ConstantsGetNoGradient()
    {
        using var scope = new Scope();
        using var recording = new Recording();
        Tensor w = Weight(3), c = Tensor.Scalar(2);
        recording.Backward(F.Mul(F.Exp(c), w));
        Assert.Null(c.Grad);
        Assert.Equal(MathF.Exp(2), w.Grad!.Item(), 1e-5f);
        Assert.False(recording.Ops[0].Differentiated);
        Assert.True(recording.Ops[1].Differentiated);
    }

    [Fact]
    public void RecordingsNestAndTheInnerOneTakesTheOps()
    {
        using var scope = new Scope();
        using var outer = new Recording();
        Tensor w = Weight(3);
        F.Square(w);
        using (var inner = new Recording())
        {
            Assert.Same(inner, Recording.Current);
            Assert.Throws<InvalidOperationException>(outer.Dispose);
            inner.Backward(F.Square(w));
            Assert.Single(inner.Ops);
        }
        Assert.Same(outer, Recording.Current);
        Assert.Single(outer.Ops);
    }

    [Fact]
    public void EndingTwiceIsHarmless()
    {
        var recording = new Recording();
        recording.Dispose();
        recording.Dispose();
        Assert.Null(Recording.Current);
    }

    [Fact]
    public void APauseRecordsNothing()
    {
        using var scope = new Scope();
        using var recording = new Recording();
        Tensor w = Weight(3), constant;
        using (Recording.Pause())
        {
            Assert.Null(Recording.Current);
            using (Recording.Pause()) F.Square(w);
            Assert.Null(Recording.Current);
            constant = F.Square(w);
        }
        Assert.Empty(recording.Ops);
        recording.Backward(F.Mul(constant, w));
        Assert.Equal(9, w.Grad!.Item());
    }

    [Fact]
    public void StructureAloneCanBeRecorded()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor y = F.Square(Weight(3));
        Assert.Single(recording.Ops);
        Assert.False(y.RequiresGrad);
        Assert.Throws<InvalidOperationException>(() => recording.Backward(y));
    }

    [Fact]
    public void BackwardStartsFromOneValueOrAGivenGradient()
    {
        using var scope = new Scope();
        using var recording = new Recording();
        Tensor w = Tensor.Full(new Shape(2), 3);
        w.RequiresGrad = true;
        Tensor y = F.Square(w);
        Assert.Throws<ArgumentException>(() => recording.Backward(y));
        Assert.Throws<ArgumentException>(() => recording.Backward(y, Tensor.Scalar(1)));
        recording.Backward(y, Tensor.From(new Shape(2), [1, 10]));
        Assert.Equal([6f, 60f], w.Grad!.ToArray());
    }

    [Fact]
    public void CostsAddUp()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor a = Tensor.Zeros(new Shape(2, 3)), b = Tensor.Zeros(new Shape(3, 4));
        F.Square(F.MatMul(a, b));
        Assert.Equal(new Cost(24, 4 * (6 + 12 + 8) + 4 * 16), recording.Cost);
    }

    private static Tensor Weight(float value)
    {
        Tensor w = Tensor.Scalar(value);
        w.RequiresGrad = true;
        return w;
    }
}
