namespace Espalier.Tensors.Tests.Ops;

public class CrossEntropyOpTests
{
    [Theory]
    [InlineData(0f, 0.3407530)]
    [InlineData(0.1f, 0.4907530)]
    [InlineData(0.2f, 0.6407530)]
    public void SmoothingSpreadsOverAllClasses(float smoothing, double expected)
    {
        using var scope = new Scope();
        Tensor loss = F.CrossEntropy(Tensor.From(new Shape(1, 4), [2, 0, 0, 0]), [0], smoothing);
        Assert.Equal(new Shape(), loss.Shape);
        Assert.Equal(expected, loss.Item(), 6);
    }

    [Fact]
    public void HugeLogitsStayFinite()
    {
        using var scope = new Scope();
        Tensor z = Tensor.From(new Shape(1, 3), [1e4f, 0, -1e4f]);
        Assert.Equal(1e4f, F.CrossEntropy(z, [1]).Item(), 0.01f);
        Assert.Equal(0, F.CrossEntropy(z, [0]).Item());
    }

    [Fact]
    public void GradientMatchesDifferences()
    {
        using var scope = new Scope();
        Tensor q = F.Softmax(GradientCheck.Random(2, 4, 6));
        GradientCheck.Check(t => F.CrossEntropy(t[0], [1, 5, 0, 3], 0.1f, [1, 2, 0, 0.5f]), GradientCheck.Random(1, 4, 6));
        GradientCheck.Check(t => F.CrossEntropy(t[0], q), GradientCheck.Random(1, 4, 6));
    }

    [Fact]
    public void ClassesAreFixed()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor z = GradientCheck.Random(1, 2, 3);
        F.CrossEntropy(z, [0, 1]);
        Assert.Equal((z, 1, null), Assert.Single(recording.Flow().FixedAxes));
    }

    [Fact]
    public void WrongOperandsAreNamed()
    {
        using var scope = new Scope();
        Tensor z = GradientCheck.Random(1, 2, 3);
        Assert.Contains("CrossEntropy: label 3 for logits [2,3]",
            Assert.Throws<ArgumentException>(() => F.CrossEntropy(z, [0, 3])).Message);
        Assert.Throws<ArgumentException>(() => F.CrossEntropy(z, [0]));
        Assert.Throws<ArgumentException>(() => F.CrossEntropy(z, [0, 1], 0, [1]));
        Assert.Throws<ArgumentException>(() => F.CrossEntropy(z, GradientCheck.Random(1, 3, 2)));
    }
}
