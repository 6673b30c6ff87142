namespace Espalier.Tensors.Tests.Ops;

public class CodeBookOpTests
{
    /// <summary>Blocks of an output follow each other; codes are listed block by block.</summary>
    [Fact]
    public void BlocksOfRowsAreEntries()
    {
        using var scope = new Scope();
        Tensor book = Tensor.From(new Shape(4, 2), [0, 1, 4, 5, 2, 3, 6, 7]), codes = Tensor.From(new Shape(2, 2), [0, 1, 2, 3]);
        Assert.Equal([0, 1, 2, 3, 4, 5, 6, 7], F.CodeBook(book, codes, [2, 4]).ToArray());
        Tensor kernels = F.CodeBook(Tensor.From(new Shape(2, 4), [1, 2, 3, 4, 5, 6, 7, 8]), Tensor.From(new Shape(1, 3), [1, 0,
            1]),
            [3, 1, 2, 2]);
        Assert.Equal(new Shape(3, 1, 2, 2), kernels.Shape);
        Assert.Equal([5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8], kernels.ToArray());
    }

    [Theory]
    [InlineData(false, 9)]
    [InlineData(true, 3)]
    public void AnEntryLearnsByTheSumOrTheMeanOfItsBlocks(bool mean, float expected)
    {
        using var scope = new Scope();
        Tensor book = Tensor.From(new Shape(2, 1), [0.5f, 7]);
        book.RequiresGrad = true;
        using var recording = new Recording();
        Tensor weight = F.CodeBook(book, Tensor.From(new Shape(1, 3), [0, 0, 0]), [3, 1], mean);
        recording.Backward(F.Sum(F.Mul(weight, Tensor.From(new Shape(3, 1), [1, 2, 6]))));
        Assert.Equal([expected, 0], book.Grad!.ToArray());
    }

    [Fact]
    public void ItsGradientIsThatOfFiniteDifferences()
    {
        using var scope = new Scope();
        Tensor codes = Tensor.From(new Shape(3, 2), [0, 2, 1, 1, 2, 0]);
        GradientCheck.Check(t => F.Square(F.CodeBook(t[0], codes, [2, 6], mean: false)), GradientCheck.Random(1, 3, 2));
    }

    [Theory]
    [InlineData(2f)]
    [InlineData(-1f)]
    [InlineData(0.5f)]
    [InlineData(float.NaN)]
    public void ACodePastTheBookIsRefusedInOneLine(float code)
    {
        using var scope = new Scope();
        Tensor book = Tensor.Zeros(new Shape(2, 1)), codes = Tensor.From(new Shape(1, 1), [code]);
        string message = Assert.Throws<EspalierException>(() => F.CodeBook(book, codes, [1, 1])).Message;
        Assert.Contains("its code book has 2 entries", message);
        Assert.DoesNotContain('\n', message);
        Assert.Throws<ArgumentException>(() => F.CodeBook(book, codes, [1, 2]));
        Assert.Throws<ArgumentException>(() => F.CodeBook(book, codes, [2, 1]));
    }
}
