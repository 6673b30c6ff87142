namespace Espalier.Tensors.Tests;

public class PaddingTests
{
    [Theory]
    [InlineData(224, 7, 2, 2, 3)]
    [InlineData(112, 3, 2, 0, 1)]
    [InlineData(56, 3, 2, 0, 1)]
    [InlineData(28, 3, 2, 0, 1)]
    [InlineData(56, 3, 1, 1, 1)]
    [InlineData(57, 1, 2, 0, 0)]
    public void SameKeepsTheSmallerHalfFirst(int size, int kernel, int stride, int first, int second)
    {
        Assert.Equal(new Padding(first, second, first, second), Padding.Same(size, size, kernel, kernel, stride));
        Assert.Equal((size + stride - 1) / stride, (size + first + second - kernel) / stride + 1);
    }


    [Fact]
    public void SidesArePaddedByTheirOwnSizes()
    {
        Assert.Equal(new Padding(1, 1, 0, 1), Padding.Same(9, 8, 3, 3, 2));
        Assert.Equal(new Padding(2, 2, 1, 1), Padding.Same(9, 9, 3, 2, 1, dilation: 2));
    }
}
