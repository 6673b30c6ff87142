namespace Espalier.Tensors.Tests.Ops;

public class PatchesToRowsOpTests
{
    // Two images, two channels, 4 x 6, patches of 2; element value = its own index.
    private static Tensor Image()
    {
        var x = new Tensor(new Shape(2, 2, 4, 6));
        for (int i = 0; i < x.Length; i++) x.Span[i] = i;
        return x;
    }

    [Fact]
    public void RowsAreTheGridInRowMajorOrderImageByImage()
    {
        using var scope = new Scope();
        Tensor rows = F.PatchesToRows(Image(), 2);
        Assert.Equal(new Shape(12, 8), rows.Shape);
        // channel 0 of the patch, then channel 1 (24 further on)
        Assert.Equal([0, 1, 6, 7, 24, 25, 30, 31], rows.Span[..8].ToArray());
        Assert.Equal([2, 3, 8, 9, 26, 27, 32, 33], rows.Span[8..16].ToArray());
        Assert.Equal([12, 13, 18, 19, 36, 37, 42, 43], rows.Span[24..32].ToArray());
        Assert.Equal([48, 49, 54, 55, 72, 73, 78, 79], rows.Span[48..56].ToArray());
    }

    [Fact]
    public void BackwardPutsEveryGradientBackAndAdds()
    {
        using var scope = new Scope();
        Tensor x = Image();
        x.RequiresGrad = true;
        using var recording = new Recording();
        Tensor rows = F.PatchesToRows(x, 2);
        for (int pass = 1; pass <= 2; pass++)
        {
            recording.Backward(rows, rows.Clone());
            for (int i = 0; i < x.Length; i++) Assert.Equal(pass * x.Span[i], x.Grad!.Span[i]);
        }
    }

    // Large enough that planes are shared out over threads.
    [Theory]
    [InlineData(1, 3, 224, 16)]
    [InlineData(3, 4, 96, 8)]
    [InlineData(2, 1, 210, 14)]
    public void EveryPixelLandsWhereAConvolutionWouldReadIt(int batch, int channels, int size, int patch)
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, batch, channels, size, size + patch);
        Span<float> rows = F.PatchesToRows(x, patch).Span, pixels = x.Span;
        int width = size + patch, down = size / patch, across = width / patch, columns = channels * patch * patch;
        for (int i = 0; i < pixels.Length; i++)
        {
            int column = i % width, line = i / width % size, plane = i / (width * size);
            int row = (plane / channels * down + line / patch) * across + column / patch;
            int at = (plane % channels * patch + line % patch) * patch + column % patch;
            if (pixels[i] != rows[row * columns + at]) Assert.Fail($"pixel {i} is not at row {row}, column {at}");
        }
    }

    [Fact]
    public void GradientIsTheNumericOne() =>
        GradientCheck.Check(t => F.PatchesToRows(t[0], 2), GradientCheck.Random(1, 2, 2, 4, 6));

    [Fact]
    public void ChannelsAreBlocksOfColumns()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor x = Image(), rows = F.PatchesToRows(x, 2);
        Assert.Equal(new Coupling(rows, 1, 0, 4, x, 1, 0, 1, 2), Assert.Single(recording.Flow().Couplings));
    }

    [Fact]
    public void WrongShapesNameTheOp()
    {
        using var scope = new Scope();
        var e = Assert.Throws<ArgumentException>(() => F.PatchesToRows(Image(), 4));
        Assert.Contains("PatchesToRows", e.Message);
        Assert.Contains("[2,2,4,6]", e.Message);
        Assert.Throws<ArgumentException>(() => F.PatchesToRows(new Tensor(new Shape(2, 4)), 2));
    }
}
