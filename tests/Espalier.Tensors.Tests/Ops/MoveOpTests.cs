namespace Espalier.Tensors.Tests.Ops;

/// <summary>Slice, Reshape, Permute and Pad: ops that only move values.</summary>
public class MoveOpTests
{
    [Fact]
    public void GradientsMatchDifferences()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 2, 3, 4);
        GradientCheck.Check(t => F.Slice(t[0], 1, 1, 2), x);
        GradientCheck.Check(t => F.Slice(t[0], -1, 0, 3), x);
        GradientCheck.Check(t => F.Reshape(t[0], 4, 6), x);
        GradientCheck.Check(t => F.Permute(t[0], 2, 0, 1), x);
        GradientCheck.Check(t => F.Permute(t[0], 1, 0, 2), x);
        GradientCheck.Check(t => F.Pad(t[0], [(1, 0), (2, 1)], 3), x);
        GradientCheck.Check(t => F.Pad(t[0], [(1, 2), (0, 0), (0, 1)]), x);
    }

    [Theory]
    [InlineData(300, 777)]
    [InlineData(1, 1000)]
    [InlineData(1000, 1)]
    [InlineData(37, 5)]
    public void TransposeOfAnySize(int rows, int columns)
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, rows, columns), y = F.Transpose(x);
        Assert.Equal(new Shape(columns, rows), y.Shape);
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) Assert.Equal(x.Span[r * columns + c], y.Span[c * rows + r]);
    }

    [Fact]
    public void EveryOrderOfFourAxes()
    {
        using var scope = new Scope();
        int[] dims = [3, 5, 7, 34], strides = [5 * 7 * 34, 7 * 34, 34, 1], at = new int[4];
        Tensor x = GradientCheck.Random(1, dims);
        for (int code = 0; code < 256; code++)
        {
            int[] axes = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6];
            if (axes.Distinct().Count() < 4) continue;
            Span<float> y = F.Permute(x, axes).Span;
            int i = 0;
            for (at[0] = 0; at[0] < dims[axes[0]]; at[0]++)
                for (at[1] = 0; at[1] < dims[axes[1]]; at[1]++)
                    for (at[2] = 0; at[2] < dims[axes[2]]; at[2]++)
                        for (at[3] = 0; at[3] < dims[axes[3]]; at[3]++)
                        {
                            int from = Enumerable.Range(0, 4).Sum(k => at[k] * strides[axes[k]]);
                            Assert.Equal(x.Span[from], y[i++]);
                        }
        }
    }

    [Fact]
    public void ReshapeSharesMemoryAndFillsInTheRest()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 2, 3, 4), y = F.Reshape(x, -1, 2);
        Assert.Equal(new Shape(12, 2), y.Shape);
        x.Span[0] = 42;
        Assert.Equal(42, y.Span[0]);
    }

    [Fact]
    public void FlatteningMakesEachChannelABlock()
    {
        Assert.Equal(["y0=x0", "y1+0*20=x1+0*1:3", "!x2", "!x3"], FlowCheck.Of(t => F.Reshape(t[0], 2, -1), [2, 3, 4, 5]));
        Assert.Equal(["y0=x0", "y1=x1"], FlowCheck.Of(t => F.Reshape(t[0], 2, 3), [2, 3, 1, 1]));
        Assert.Equal(["y0=x0", "y3=x1"], FlowCheck.Of(t => F.Reshape(t[0], 2, 1, 1, 3), [2, 3]));
    }

    [Fact]
    public void SplittingMakesEachEntryOfTheFirstPartABlock()
    {
        Assert.Equal(["y0=x0", "y1+0*1=x1+0*4:3", "!y2"], FlowCheck.Of(t => F.Reshape(t[0], 5, 3, 4), [5, 12]));
        Assert.Equal(["!x0", "!x1", "!y0", "!y1"], FlowCheck.Of(t => F.Reshape(t[0], 6, 4), [4, 6]));
        Assert.Equal(["y1+0*1=x0+0*1:3", "y1+0*1=x0+3*1:3", "y2=x1", "!y0"], FlowCheck.Of(t => F.Reshape(t[0], 2, 3, 7), [6, 7]));
    }

    [Fact]
    public void OtherFlows()
    {
        Assert.Equal(["y0=x0", "y1+0*1=x1+2*1:3", "!x1"], FlowCheck.Of(t => F.Slice(t[0], 1, 2, 3), [2, 6]));
        Assert.Equal(["y0+0*1=x0+0*1:3", "y0+0*1=x0+3*1:3"], FlowCheck.Of(t => F.Slice(t[0], 0, 3, 3), [6]));
        Assert.Equal(["y0=x2", "y1=x0", "y2=x1"], FlowCheck.Of(t => F.Permute(t[0], 2, 0, 1), [2, 3, 4]));
        Assert.Equal(["y0=x0", "y1+2*1=x1+0*1:3", "!x1", "!y1"], FlowCheck.Of(t => F.Pad(t[0], [(2, 1)]), [2, 3]));
    }

    [Fact]
    public void WrongArgumentsAreNamed()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 2, 3);
        Assert.Contains("Slice: 3 entries from 1 of axis 1 of x [2,3]", Message(() => F.Slice(x, 1, 1, 3)));
        Assert.Contains("Reshape: x [2,3] to [4,2]", Message(() => F.Reshape(x, 4, 2)));
        Assert.Contains("Reshape: x [2,3]", Message(() => F.Reshape(x, 4, -1)));
        Assert.Contains("Permute: [0,0]", Message(() => F.Permute(x, 0, 0)));
        Assert.Contains("Permute: [0]", Message(() => F.Permute(x, 0)));
        Assert.Contains("Pad: (-1, 0) for axis 1", Message(() => F.Pad(x, [(-1, 0)])));
    }

    private static string Message(Action action) => Assert.Throws<ArgumentException>(action).Message;
}
