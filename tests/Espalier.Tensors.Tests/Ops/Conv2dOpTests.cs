using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Ops;

[Collection("Workers")]
public class Conv2dOpTests
{
    [Theory]
    [InlineData(1, 1, 1, 0)]
    [InlineData(3, 1, 1, 1)]
    [InlineData(3, 2, 1, 1)]
    [InlineData(3, 1, 2, 2)]
    [InlineData(2, 3, 1, 0)]
    public void GradientIsTheNumericOne(int kernel, int stride, int dilation, int padding) =>
        GradientCheck.Check(
            t => F.Conv2d(t[0], t[1], t[2], stride, padding, dilation),
            GradientCheck.Random(1, 2, 2, 6, 5), GradientCheck.Random(2, 3, 2, kernel, kernel), GradientCheck.Random(3, 3));

    [Theory]
    [InlineData(1, 2, 1)]
    [InlineData(2, 1, 1)]
    [InlineData(3, 2, 3)]
    public void RowsAndColumnsMayHaveStridesOfTheirOwn(int rows, int columns, int groups)
    {
        var stride = new Strides(rows, columns);
        Tensor x = GradientCheck.Random(1, 2, 3, 7, 6), w = GradientCheck.Random(2, 3, 3 / groups, 3, 2);
        GradientCheck.Check(t => F.Conv2d(t[0], t[1], null, stride, 1, groups: groups), x, w);
        using var scope = new Scope();
        Tensor all = F.Conv2d(x, w, null, 1, 1, groups: groups), some = F.Conv2d(x, w, null, stride, 1, groups: groups);
        for (int i = 0; i < some.Length; i++)
        {
            int column = i % some.Shape[3], row = i / some.Shape[3] % some.Shape[2], plane = i / some.Shape[3] / some.Shape[2];
            int from = (plane * all.Shape[2] + row * rows) * all.Shape[3] + column * columns;
            Assert.Equal(all.Span[from], some.Span[i], 1e-5f);
        }
    }

    [Theory]
    [InlineData(2, 2, 1)]
    [InlineData(4, 1, 1)]
    [InlineData(4, 1, 2)]
    public void GradientOfGroupsIsTheNumericOne(int groups, int perGroup, int stride) =>
        GradientCheck.Check(
            t => F.Conv2d(t[0], t[1], t[2], stride, new Padding(0, 1, 1, 0), groups: groups),
            GradientCheck.Random(1, 2, groups * perGroup, 5, 4), GradientCheck.Random(2, 4, perGroup, 3, 3),
            GradientCheck.Random(3, 4));

    // Wide enough for several strips of output rows, and for images both shared out and done one by one.
    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 1)]
    [InlineData(4, 20)]
    public void StripsThreadsAndImagesGiveTheReference(int batch, int groups)
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, batch, 20, 40, 41), w = GradientCheck.Random(2, 20, 20 / groups, 3, 3);
        Tensor expected = Reference(x, w, groups);
        int before = Workers.Threads;
        try
        {
            foreach (int threads in (int[])[1, 2, 3])
            {
                Workers.Threads = threads;
                Close(expected, F.Conv2d(x, w, padding: 1, groups: groups));
            }
        }
        finally
        {
            Workers.Threads = before;
        }
    }

    [Fact]
    public void RunsRepeatBitForBit()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 5, 6, 30, 30), w = GradientCheck.Random(2, 8, 6, 3, 3);
        w.RequiresGrad = true;
        float[]? first = null;
        for (int run = 0; run < 3; run++)
        {
            using var recording = new Recording();
            Tensor y = F.Conv2d(x, w, padding: 1);
            recording.Backward(y, y.Clone());
            float[] grad = w.Grad!.ToArray();
            w.ClearGrad();
            Assert.Equal(first ??= grad, grad);
        }
    }

    [Fact]
    public void CostCountsMultiplyAdds()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        F.Conv2d(new Tensor(new Shape(2, 6, 8, 8)), new Tensor(new Shape(4, 3, 3, 3)), stride: 2, padding: 1, groups: 2);
        Assert.Equal(2L * 4 * 4 * 4 * 3 * 9, recording.Cost.MultiplyAdds);
    }

    [Fact]
    public void ChannelsOfOneGroupAreRowsAndColumnsOfTheWeight()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor x = new(new Shape(1, 3, 4, 4)), w = new(new Shape(5, 3, 1, 1)), b = new(new Shape(5)), y = F.Conv2d(x, w, b);
        Coupling[] expected =
        [
            new(y, 1, 0, 1, b, 0, 0, 1, 5),
            new(y, 1, 0, 1, w, 0, 0, 1, 5),
            new(x, 1, 0, 1, w, 1, 0, 1, 3),
        ];
        Assert.Equal(expected, recording.Flow().Couplings);
    }

    [Theory]
    [InlineData(6, 6, 6)]
    [InlineData(6, 12, 6)]
    [InlineData(8, 4, 4)]
    public void ChannelsOfSeveralGroupsGoGroupByGroup(int channels, int outputs, int groups)
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor x = new(new Shape(1, channels, 4, 4)), w = new(new Shape(outputs, channels / groups, 3, 3));
        Tensor y = F.Conv2d(x, w, groups: groups);
        int rows = outputs / groups;
        ChannelFlow flow = recording.Flow();
        Assert.Equal(
            [new Coupling(y, 1, 0, rows, w, 0, 0, rows, groups), new Coupling(x, 1, 0, channels / groups, w, 0, 0, rows, groups)],
            flow.Couplings);
        Assert.Equal((w, 1, "the groups of a convolution keep their width"), Assert.Single(flow.FixedAxes));
    }

    [Fact]
    public void FewLargeGroupsLoseTheSameChannelEach()
    {
        Assert.Equal(
            ["y1=z0", "x1+0*1=z1+0*1:3", "y1+2*1=y1+0*1:2", "x1+3*1=z1+0*1:3"],
            FlowCheck.Of(t => F.Conv2d(t[0], t[1], groups: 2), [1, 6, 4, 4], [4, 3, 3, 3]));
    }

    [Fact]
    public void WrongShapesNameTheOpAndTheShapes()
    {
        using var scope = new Scope();
        Tensor x = new(new Shape(1, 3, 4, 4));
        var e = Assert.Throws<ArgumentException>(() => F.Conv2d(x, new Tensor(new Shape(2, 4, 3, 3))));
        Assert.Contains("Conv2d: x [1,3,4,4] and weight [2,4,3,3]", e.Message);
        Assert.Throws<ArgumentException>(() => F.Conv2d(x, new Tensor(new Shape(2, 3, 5, 5))));
        Assert.Throws<ArgumentException>(() => F.Conv2d(x, new Tensor(new Shape(2, 3, 3, 3)), new Tensor(new Shape(3))));
        Assert.Throws<ArgumentException>(() => F.Conv2d(x, new Tensor(new Shape(2, 3, 3, 3)), padding: -1));
        Assert.Throws<ArgumentException>(() => F.Conv2d(x, new Tensor(new Shape(2, 3, 3, 3)), stride: 0));
    }

    // 3 x 3, stride 1, padding 1; written as the definition reads.
    private static Tensor Reference(Tensor x, Tensor w, int groups)
    {
        int channels = x.Shape[1], height = x.Shape[2], width = x.Shape[3], outputs = w.Shape[0], depth = w.Shape[1];
        Tensor y = new(new Shape(x.Shape[0], outputs, height, width));
        for (int i = 0; i < y.Length; i++)
        {
            int column = i % width, row = i / width % height, plane = i / (width * height);
            int o = plane % outputs, b = plane / outputs;
            double sum = 0;
            for (int k = 0; k < depth * 9; k++)
            {
                int c = o / (outputs / groups) * depth + k / 9, r = row + k % 9 / 3 - 1, s = column + k % 3 - 1;
                if (r < 0 || s < 0 || r >= height || s >= width) continue;
                sum += (double)w.Span[o * depth * 9 + k] * x.Span[((b * channels + c) * height + r) * width + s];
            }
            y.Span[i] = (float)sum;
        }
        return y;
    }

    private static void Close(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.Shape, actual.Shape);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected.Span[i], actual.Span[i], 2e-4f);
    }
}
