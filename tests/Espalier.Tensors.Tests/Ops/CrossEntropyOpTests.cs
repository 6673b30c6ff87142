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

    /// <summary>softmax(z) - q for z = (2, 0, 0, 0) and q with 0.1 spread over all four classes.</summary>
    [Fact]
    public void SmoothingDrawsTheGradientBack()
    {
        using var scope = new Scope();
        using Tensor z = Tensor.Parameter(new Shape(1, 4));
        z.Span[0] = 2;
        using var recording = new Recording();
        recording.Backward(F.CrossEntropy(z, [0], 0.1f));
        float[] expected = [-.2137654f, .0712551f, .0712551f, .0712551f];
        for (int k = 0; k < 4; k++) Assert.Equal(expected[k], z.Grad!.Span[k], 1e-6f);
    }

    /// <summary>With ten classes and 0.1 the loss is least where the right logit is ln 91 above the others, and not at infinity.</summary>
    [Fact]
    public void SmoothingHasABestGap()
    {
        const float best = 4.5108595f;
        Assert.Equal(0.5002880, Loss(best), 6);
        Assert.True(Loss(best) < Loss(best - 0.1f) && Loss(best) < Loss(best + 0.1f));
        Assert.Equal(Math.Log(10), Loss(0), 6);

        static double Loss(float gap)
        {
            using var scope = new Scope();
            Tensor z = Tensor.Zeros(new Shape(1, 10));
            z.Span[3] = gap;
            return F.CrossEntropy(z, [3], 0.1f).Item();
        }
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
