namespace Espalier.Tensors.Tests.Ops;

public class ReduceOpTests
{
    public static TheoryData<int[]> Axes => [[], [0], [1], [-1], [0, 2], [1, 2]];

    [Theory, MemberData(nameof(Axes))]
    public void GradientMatchesDifferences(int[] axes)
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 2, 3, 4);
        GradientCheck.Check(t => F.Sum(t[0], axes), x);
        GradientCheck.Check(t => F.Mean(t[0], axes, keepDims: true), x);
        // Values so far apart that the step does not change which is the largest.
        var order = new Rng(3);
        order.Shuffle(x.Span);
        int[] ranks = [.. Enumerable.Range(0, 24)];
        order.Shuffle<int>(ranks);
        for (int i = 0; i < 24; i++) x.Span[i] = 0.1f * ranks[i];
        GradientCheck.Check(t => F.Max(t[0], axes), x);
    }

    [Fact]
    public void EqualMaximaShareTheGradient()
    {
        using var scope = new Scope();
        using var recording = new Recording();
        Tensor x = Tensor.From(new Shape(2, 3), [5, 5, 1, 0, 2, -1]);
        x.RequiresGrad = true;
        Tensor y = F.Max(x, -1);
        Assert.Equal([5f, 2f], y.ToArray());
        recording.Backward(y, Tensor.Full(y.Shape, 1));
        Assert.Equal([0.5f, 0.5f, 0, 0, 1, 0], x.Grad!.ToArray());
    }

    [Fact]
    public void LargeTensorsAreSharedByThreads()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(7, 30, 40, 500);
        double[] rows = new double[30], columns = new double[500], middle = new double[40];
        for (int i = 0; i < x.Length; i++)
        {
            rows[i / 20_000] += x.Span[i];
            middle[i / 500 % 40] += x.Span[i];
            columns[i % 500] += x.Span[i];
        }
        Same(rows, F.Sum(x, 1, 2));
        Same(middle, F.Sum(x, 0, 2));
        Same(columns, F.Sum(x, 0, 1));
        Assert.Equal(rows.Sum() / x.Length, F.Mean(x).Item(), 1e-5);
        Assert.Equal(x.ToArray().Max(), F.Max(x).Item());

        static void Same(double[] expected, Tensor actual)
        {
            Assert.Equal(new Shape(expected.Length), actual.Shape);
            for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual.Span[i], 2e-3);
        }
    }

    [Fact]
    public void RemainingAxesAreCoupledAndMeansFixTheOthers()
    {
        Assert.Equal(["y0=x0", "y1=x2"], FlowCheck.Of(t => F.Sum(t[0], 1), [2, 3, 4]));
        Assert.Equal(["y0=x0", "y2=x2", "!x1"], FlowCheck.Of(t => F.Mean(t[0], [1], keepDims: true), [2, 3, 4]));
        Assert.Equal(["y0=x1", "!x0"], FlowCheck.Of(t => F.Max(t[0], 0), [2, 3]));
    }

    [Fact]
    public void WrongAxesAreNamed()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 2, 3);
        Assert.Contains("Sum: axis 2 of x [2,3]", Assert.Throws<ArgumentException>(() => F.Sum(x, 2)).Message);
        Assert.Throws<ArgumentException>(() => F.Mean(new Tensor(new Shape(0, 3)), 0));
    }

    [Fact]
    public void ArgMaxTakesTheFirstLargestOfEachRow()
    {
        using var scope = new Scope();
        Assert.Equal([1, 0, 2], F.ArgMax(Tensor.From(new Shape(3, 3), [1, 7, 7, 0, -1, -2, -9, -8, -7])));
    }
}
