namespace Espalier.Tensors.Tests.Ops;

public class DropoutOpTests
{
    private const int Length = 100_001;

    [Fact]
    public void DropsTheShareAskedForAndKeepsTheMean()
    {
        using var scope = new Scope();
        float[] y = F.Dropout(Tensor.Full(new Shape(Length), 1), 0.3f, new RandomStream(1)).ToArray();
        Assert.All(y, v => Assert.True(v == 0 || v == 1 / 0.7f));
        Assert.InRange(y.Count(v => v == 0) / (double)Length, 0.29, 0.31);
    }

    [Fact]
    public void MaskFollowsFromSeedAndCallNumber()
    {
        using var scope = new Scope();
        Tensor x = Tensor.Full(new Shape(5000), 1);
        var stream = new RandomStream(7);
        float[] first = F.Dropout(x, 0.5f, stream).ToArray(), second = F.Dropout(x, 0.5f, stream).ToArray();
        Assert.NotEqual(first, second);
        Assert.Equal(2UL, stream.Calls);
        Assert.Equal(second, F.Dropout(x, 0.5f, new RandomStream(7) { Calls = 1 }).ToArray());
        Assert.NotEqual(first, F.Dropout(x, 0.5f, new RandomStream(8)).ToArray());
    }

    [Fact]
    public void GradientGoesThroughTheSameMask()
    {
        using var scope = new Scope();
        using var recording = new Recording();
        Tensor x = Tensor.Full(new Shape(Length), 1);
        x.RequiresGrad = true;
        Tensor y = F.Dropout(x, 0.4f, new RandomStream(3));
        for (int pass = 1; pass <= 2; pass++)
        {
            recording.Backward(y, Tensor.Full(y.Shape, 1));
            for (int i = 0; i < Length; i++) Assert.Equal(pass * y.Span[i], x.Grad!.Span[i]);
        }
    }

    [Fact]
    public void IsAbsentAtZeroAndOutsideTraining()
    {
        using var scope = new Scope();
        Tensor x = Tensor.Full(new Shape(3), 1);
        var stream = new RandomStream(1);
        Assert.Same(x, F.Dropout(x, 0, stream));
        Assert.Same(x, F.Dropout(x, 0.5f, stream, training: false));
        Assert.Equal(0UL, stream.Calls);
        Assert.Throws<ArgumentException>(() => F.Dropout(x, 1, stream));
    }
}
