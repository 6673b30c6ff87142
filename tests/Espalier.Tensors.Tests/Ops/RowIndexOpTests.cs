namespace Espalier.Tensors.Tests.Ops;

/// <summary>GatherRows and its gradient, which adds rows in places.</summary>
public class RowIndexOpTests
{
    [Fact]
    public void GradientsMatchDifferences()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 5, 3);
        GradientCheck.Check(t => F.GatherRows(t[0], [4, 4, 0, 2, 4, 1]), x);
    }

    [Fact]
    public void ManyRepeatsAddUpInOrderOnAnyNumberOfThreads()
    {
        const int Rows = 20_000, Places = 37, Width = 33;
        using var scope = new Scope();
        var rng = new Rng(5);
        var index = new int[Rows];
        foreach (ref int i in index.AsSpan()) i = rng.NextInt(Places - 1); // the last place stays empty
        Tensor x = GradientCheck.Random(2, Rows, Width);
        var expected = new float[Places * Width];
        for (int i = 0; i < Rows; i++)
            for (int c = 0; c < Width; c++) expected[index[i] * Width + c] += x.Span[i * Width + c];

        using var recording = new Recording();
        Tensor source = GradientCheck.Random(3, Places, Width);
        source.RequiresGrad = true;
        Tensor picked = F.GatherRows(source, index);
        for (int i = 0; i < Rows; i += 100)
            Assert.True(picked.Span.Slice(i * Width, Width).SequenceEqual(source.Span.Slice(index[i] * Width, Width)));
        recording.Backward(picked, x.Clone());
        Assert.Equal(expected, source.Grad!.ToArray());
    }

    [Fact]
    public void OnlyTheWidthIsCoupled()
    {
        Assert.Equal(["y1=x1"], FlowCheck.Of(t => F.GatherRows(t[0], [1, 0]), [2, 3]));
    }

    [Fact]
    public void WrongRowsAreNamed()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 2, 3);
        Assert.Contains("GatherRows: row 2 of x [2,3]", Assert.Throws<ArgumentException>(() => F.GatherRows(x, [2])).Message);
    }
}
