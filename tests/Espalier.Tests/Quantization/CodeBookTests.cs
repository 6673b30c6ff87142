using Espalier.Quantization;
using Espalier.Tensors;

namespace Espalier.Tests.Quantization;

/// <summary>k-means, and weights as entries of code books.</summary>
public class CodeBookTests
{
    /// <summary>(5, 5) is as near to one centre as to the other, and goes to the first.</summary>
    [Fact]
    public void CentresGoToTheMeanOfTheirPoints()
    {
        float[] points = [0, 0, 0, 1, 10, 10, 10, 11, 5, 5], centres = [0, 0, 10, 10];
        var rng = new Rng(1);
        int[] nearest = KMeans.Run(points, centres, 2, 1, ref rng);
        Assert.Equal([0, 0, 1, 1, 0], nearest);
        Assert.Equal([5 / 3f, 2, 10, 10.5f], centres);
        Assert.Equal(5.5827114, Math.Sqrt(KMeans.Error(points, centres, nearest, 2)), 1e-6);
        Assert.Equal(nearest, KMeans.Run(points, centres, 2, 50, ref rng));
        Assert.Equal([5 / 3f, 2, 10, 10.5f], centres);
    }

    /// <summary>Centres that begin at one place all get points in the end, where there are as many.</summary>
    [Fact]
    public void CentresWithoutPointsAreMoved()
    {
        var rng = new Rng(3);
        float[] points = [.. Enumerable.Range(0, 400).Select(_ => rng.NextNormal())], centres = new float[16];
        int[] nearest = KMeans.Run(points, centres, 1, 30, ref rng);
        Assert.Equal(16, nearest.Distinct().Count());
        Assert.InRange(KMeans.Error(points, centres, nearest, 1), 0, 0.05 * points.Sum(p => p * p));
    }

    [Fact]
    public void ColumnsAreBlocksOfAllOutputsOneAfterAnother()
    {
        using var scope = new Scope();
        Tensor weight = Tensor.From(new Shape(2, 4), [0, 1, 2, 3, 4, 5, 6, 7]);
        float[] columns = CodeBook.Columns(weight, 2);
        Assert.Equal([0, 1, 4, 5, 2, 3, 6, 7], columns);
        Tensor again = F.CodeBook(Tensor.From(new Shape(4, 2), columns), Tensor.From(new Shape(2, 2), [0, 1, 2, 3]), [2, 4]);
        Assert.Equal(weight.ToArray(), again.ToArray());
    }

    [Theory]
    [InlineData(64 * 64 * 9, 9, 4096, 4608, 16.94)]
    [InlineData(1024 * 1024, 8, 131072, 4096, 31.03)]
    public void Sizes(long values, int width, double codes, long book, double ratio)
    {
        Assert.Equal((codes, book), CodeBook.Bytes(values, width, 256));
        Assert.Equal(ratio, 4 * values / (codes + book), 0.005);
    }

    /// <summary>At most the largest power of two strictly below a quarter of the columns.</summary>
    [Theory]
    [InlineData(1025, 256, 256)]
    [InlineData(1024, 256, 128)]
    [InlineData(2000, 200, 200)]
    [InlineData(256, 256, 32)]
    [InlineData(9, 256, 2)]
    [InlineData(8, 256, 1)]
    public void ABookHasFewerEntriesWhereThereAreFewColumns(long columns, int wanted, int entries) =>
        Assert.Equal(entries, CodeBook.EntriesFor(columns, wanted));

    [Fact]
    public void TheSameSeedGivesTheSameBook()
    {
        using var scope = new Scope();
        var rng = new Rng(5);
        var weight = new Tensor(new Shape(32, 48));
        foreach (ref float x in weight.Span) x = rng.NextNormal();
        Rng first = new(7), second = new(7);
        CodeBook a = CodeBook.Fit(weight, 4, 32, 10, ref first), b = CodeBook.Fit(weight, 4, 32, 10, ref second);
        Assert.Equal(a.Codes, b.Codes);
        Assert.Equal(a.Entries, b.Entries);
        Assert.InRange(a.Error(weight), 0.01, 0.5);
    }
}
