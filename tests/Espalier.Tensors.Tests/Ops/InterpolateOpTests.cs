namespace Espalier.Tensors.Tests.Ops;

public class InterpolateOpTests
{
    [Theory]
    [InlineData(ResizeMode.Nearest)]
    [InlineData(ResizeMode.Bilinear)]
    [InlineData(ResizeMode.BilinearAlignCorners)]
    [InlineData(ResizeMode.Bicubic)]
    public void GradientIsTheNumericOne(ResizeMode mode)
    {
        GradientCheck.Check(t => F.Interpolate(t[0], 7, 5, mode), GradientCheck.Random(1, 1, 2, 4, 3));
        GradientCheck.Check(t => F.Interpolate(t[0], 2, 3, mode), GradientCheck.Random(1, 2, 1, 5, 4));
    }

    [Theory]
    [InlineData(ResizeMode.Bilinear, new[] { 0f, 0.25f, 0.75f, 1f })]
    [InlineData(ResizeMode.BilinearAlignCorners, new[] { 0f, 1 / 3f, 2 / 3f, 1f })]
    [InlineData(ResizeMode.Bicubic, new[] { -0.10546875f, 0.2265625f, 0.7734375f, 1.10546875f })]
    [InlineData(ResizeMode.Nearest, new[] { 0f, 0f, 1f, 1f })]
    public void TwoPointsBecomeFour(ResizeMode mode, float[] expected)
    {
        using var scope = new Scope();
        float[] actual = F.Interpolate(Tensor.From(new Shape(1, 1, 1, 2), [0, 1]), 1, 4, mode).ToArray();
        for (int i = 0; i < 4; i++) Assert.Equal(expected[i], actual[i], 1e-6f);
    }

    [Fact]
    public void WrongShapesNameTheOp()
    {
        using var scope = new Scope();
        Tensor matrix = new(new Shape(2, 2)), image = new(new Shape(1, 1, 2, 2));
        var e = Assert.Throws<ArgumentException>(() => F.Interpolate(matrix, 3, 3, ResizeMode.Nearest));
        Assert.Contains("Interpolate: x [2,2]", e.Message);
        e = Assert.Throws<ArgumentException>(() => F.Interpolate(image, 0, 3, ResizeMode.Nearest));
        Assert.Contains("0 x 3", e.Message);
    }
}
