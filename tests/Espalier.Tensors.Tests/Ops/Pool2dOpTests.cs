namespace Espalier.Tensors.Tests.Ops;

public class Pool2dOpTests
{
    // A permutation of well separated values: no window has two near maxima.
    private static Tensor Distinct(params int[] dims)
    {
        var rng = new Rng(5);
        var t = new Tensor(new Shape(dims));
        for (int i = 0; i < t.Length; i++) t.Span[i] = i * 0.1f - 3;
        rng.Shuffle(t.Span);
        return t;
    }

    [Fact]
    public void MaximumPassesItsGradientToOnePixel() =>
        GradientCheck.Check(t => F.MaxPool2d(t[0], 3, 2, new Padding(0, 1, 1, 0)), Distinct(2, 2, 6, 5));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AverageSharesItsGradient(bool countPadding) =>
        GradientCheck.Check(
            t => F.AvgPool2d(t[0], 3, 2, new Padding(0, 1, 1, 0), countPadding), GradientCheck.Random(1, 2, 2, 6, 5));

    [Fact]
    public void GlobalAverageSharesItsGradient() =>
        GradientCheck.Check(t => F.GlobalAvgPool2d(t[0]), GradientCheck.Random(1, 2, 3, 4, 5));

    [Fact]
    public void PaddingNeverWins()
    {
        using var scope = new Scope();
        Tensor y = F.MaxPool2d(Tensor.Full(new Shape(1, 1, 4, 4), -5), 3, 2, 1);
        foreach (float value in y.Span) Assert.Equal(-5, value);
    }

    [Fact]
    public void EqualValuesGiveTheGradientToTheFirst()
    {
        using var scope = new Scope();
        using var recording = new Recording();
        Tensor x = Tensor.Full(new Shape(1, 1, 2, 2), 1);
        x.RequiresGrad = true;
        recording.Backward(F.MaxPool2d(x, 2));
        Assert.Equal([1, 0, 0, 0], x.Grad!.ToArray());
    }

    [Fact]
    public void NotANumberIsNotHidden()
    {
        using var scope = new Scope();
        Assert.True(float.IsNaN(F.MaxPool2d(Tensor.From(new Shape(1, 1, 2, 2), [1, float.NaN, 3, 4]), 2).Item()));
    }

    [Fact]
    public void ChannelsPassThrough()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor x = new(new Shape(1, 3, 4, 4));
        Tensor[] results = [F.MaxPool2d(x, 2), F.AvgPool2d(x, 2), F.GlobalAvgPool2d(x)];
        Assert.Equal(results.Select(y => new Coupling(y, 1, 0, 1, x, 1, 0, 1, 3)), recording.Flow().Couplings);
        Assert.Equal(0, recording.Cost.MultiplyAdds);
    }

    [Fact]
    public void WrongShapesNameTheOp()
    {
        using var scope = new Scope();
        Tensor x = new(new Shape(1, 3, 4, 4));
        Tensor flat = x.View(new Shape(3, 16));
        Refused("MaxPool2d: a kernel of 5 is larger than x [1,3,4,4]", () => F.MaxPool2d(x, 5));
        Refused("MaxPool2d: padding (2,2,2,2)", () => F.MaxPool2d(x, 2, 2, 2));
        Refused("AvgPool2d: x [3,16]", () => F.AvgPool2d(flat, 2));
        Tensor empty = new(new Shape(1, 3, 0, 4));
        Refused("MaxPool2d: x [1,3,0,4]", () => F.MaxPool2d(empty, 3, 1, 2));
        Refused("AvgPool2d: x [1,3,0,4]", () => F.AvgPool2d(empty, 3, 1, 2));
        Refused("GlobalAvgPool2d: x [3,16]", () => F.GlobalAvgPool2d(flat));

        static void Refused(string message, Func<Tensor> call) =>
            Assert.Contains(message, Assert.Throws<ArgumentException>(call).Message);
    }
}
