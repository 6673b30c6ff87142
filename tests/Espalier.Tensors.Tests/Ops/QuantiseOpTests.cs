namespace Espalier.Tensors.Tests.Ops;

/// <summary>Codes of a few bits: rounding, cutting, the slope through the steps, scales of an axis.</summary>
public class QuantiseOpTests
{
    [Fact]
    public void RoundsHalvesToTheEvenCodeAndCutsAtTheEnds()
    {
        float[] x = [0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 126.6f, 1e9f, -1e9f, float.PositiveInfinity];
        Tensor y = F.Quantise(Tensor.From(new Shape(9), x), Tensor.Scalar(1));
        Assert.Equal([0, 2, 2, 0, -2, 127, 127, -127, 127], y.ToArray().Select(v => v + 0f));
        Assert.Equal(float.NaN, F.Quantise(Tensor.Scalar(float.NaN), Tensor.Scalar(1)).Item());
    }

    [Fact]
    public void TheRangeFromMinusOneToThree()
    {
        float scale = 4 / 255f;
        Tensor x = Tensor.From(new Shape(4), [-2, -1, 0.5f, 9]);
        float[] y = F.Quantise(x, Tensor.Scalar(scale), Tensor.Scalar(64), 0, 255).ToArray();
        Assert.Equal(-1.0039216f, y[0], 1e-6f);
        Assert.Equal(y[0], y[1]);
        Assert.Equal(0.5019608f, y[2], 1e-6f);
        Assert.Equal(2.9960784f, y[3], 1e-6f);
    }

    [Fact]
    public void AnEntryOfTheAxisHasItsOwnScale()
    {
        Tensor x = Tensor.From(new Shape(2, 2, 2), [0.26f, 3, 0.26f, 3, -0.26f, -3, -0.26f, -3]);
        Tensor scale = Tensor.From(new Shape(2), [0.25f, 1]), zero = Tensor.From(new Shape(2), [0, 2]);
        Assert.Equal([0.25f, 1.75f, 0, 3, -0.25f, -1.75f, 0, -3], F.Quantise(x, scale, zero, -7, 7,
            axis: 1).ToArray().Select(v => v + 0f));
        Assert.Equal([0.25f, 3, 0.25f, 3, -0.25f, -3, -0.25f, -3], F.Quantise(x, scale, null, -7, 7, axis: 2).ToArray());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(70_000)]
    public void WhatIsRoundedOnceStaysAsItIs(int count)
    {
        var rng = new Rng(3);
        var x = new Tensor(new Shape(count));
        foreach (ref float v in x.Span) v = rng.NextFloat(-3, 3);
        Tensor scale = Tensor.Scalar(0.0137f), zero = Tensor.Scalar(101), y = F.Quantise(x, scale, zero, 0, 255);
        Assert.Equal(y.ToArray(), F.Quantise(y, scale, zero, 0, 255).ToArray());
    }

    [Fact]
    public void TheGradientGoesThroughTheStepsButNotPastTheEnds()
    {
        using var recording = new Recording();
        Tensor x = Tensor.Parameter(new Shape(5));
        new float[] { 0.3f, -7.4f, -7.6f, 7.4f, 7.6f }.CopyTo(x.Span);
        recording.Backward(F.Sum(F.Mul(F.Quantise(x, Tensor.Scalar(1), null, -7, 7), 3)));
        Assert.Equal([3, 3, 0, 3, 0], x.Grad!.ToArray());
    }

    [Fact]
    public void ScalesGoWithTheirChannels()
    {
        Assert.Equal(["y0=x0", "y1=x1"], FlowCheck.Of(t => F.Quantise(t[0], Tensor.Scalar(1)), [2, 3]));
        Assert.Equal(["y0=x0", "y1=x1", "y1=z0", "y1=w0"],
            FlowCheck.Of(t => F.Quantise(t[0], t[1], t[2], axis: 1), [2, 3], [3], [3]));
    }

    [Fact]
    public void WhatDoesNotFitIsRefused()
    {
        Tensor x = new(new Shape(2, 3)), two = Tensor.From(new Shape(2), [1, 1]);
        Assert.Contains("axis 1 of x [2,3]", Assert.Throws<ArgumentException>(() => F.Quantise(x, two, axis: 1)).Message);
        Assert.Throws<ArgumentException>(() => F.Quantise(x, two));
        Assert.Throws<ArgumentException>(() => F.Quantise(x, Tensor.Scalar(1), two));
        Assert.Throws<ArgumentException>(() => F.Quantise(x, Tensor.Scalar(1), null, 3, 3));
        Assert.Throws<ArgumentException>(() => F.Quantise(x, Tensor.Scalar(1), null, 0, 1 << 20));
        foreach (float scale in new[] { 0, -1, float.NaN, float.PositiveInfinity })
            Assert.Contains("scales are above 0", Assert.Throws<EspalierException>(() => F.Quantise(x,
                Tensor.Scalar(scale))).Message);
        Assert.Throws<EspalierException>(() => F.Quantise(x, Tensor.Scalar(1), Tensor.Scalar(0.5f)));
    }

    [Theory]
    [InlineData(0, 255, 8)]
    [InlineData(-127, 127, 8)]
    [InlineData(-128, 127, 8)]
    [InlineData(-7, 7, 4)]
    [InlineData(0, 15, 4)]
    [InlineData(-1, 1, 2)]
    [InlineData(0, 65535, 16)]
    public void BitsOfACode(int low, int high, int bits) =>
        Assert.Equal(bits, new QuantiseOp(Tensor.Scalar(1), Tensor.Scalar(1), null, low, high).Bits);
}
