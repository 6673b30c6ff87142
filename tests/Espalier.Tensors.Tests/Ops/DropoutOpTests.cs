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

    /// <summary>Images go or stay as a whole, rows of a set with their image; the gradient has the same mask.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Whole_images(bool rows)
    {
        using var scope = new Scope();
        const int images = 300, each = 3;
        Tensor x = rows ? Tensor.Full(new Shape(images * each, 2), 1) : Tensor.Full(new Shape(images, each, 2), 1);
        if (rows) x.Rows = RowSet.Uniform(images, each);
        x.RequiresGrad = true;
        using var recording = new Recording();
        Tensor y = F.DropImages(x, 0.25f, new RandomStream(5));
        float[][] all = [.. y.ToArray().Chunk(2 * each)];
        Assert.All(all, image => Assert.True(image.All(v => v == 0) || image.All(v => Math.Abs(v - 4 / 3f) < 1e-6f)));
        Assert.InRange(all.Count(image => image[0] == 0), 45, 105);
        recording.Backward(F.Sum(y));
        Assert.Equal(y.ToArray(), x.Grad!.ToArray());
        Assert.Equal(x.ToArray(), F.DropImages(x, 0.25f, new RandomStream(5), training: false).ToArray());
        var op = (DropoutOp)recording.Ops[0];
        Assert.True(((DropoutOp)OpTable.Create("Dropout", [x], op.Settings)).PerImage);
        Assert.False(((DropoutOp)OpTable.Create("Dropout", [x], new OpSettings().Set("rate", 0.1f))).PerImage);
    }
}
