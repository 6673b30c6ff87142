using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels.Elementwise;

[Collection("Workers")]
public sealed unsafe class SoftmaxTests : IDisposable
{
    private readonly int before = Workers.Threads;

    public void Dispose() => Workers.Threads = before;

    [Theory]
    [InlineData(5, 1)]
    [InlineData(3, 7)]
    [InlineData(17, 10)]
    [InlineData(50, 17)]
    [InlineData(2, 63)]
    [InlineData(65, 65)]
    [InlineData(11, 1000)]
    public void AgreesWithTheFormulas(int rows, int columns)
    {
        using var x = GuardedFloats.Random(rows * columns, 1, 5f);
        using var dy = GuardedFloats.Random(rows * columns, 2);
        using var y = new GuardedFloats(rows * columns);
        using var dx = new GuardedFloats(rows * columns);
        using var log = new GuardedFloats(rows * columns);
        using var dLog = new GuardedFloats(rows * columns);
        Softmax.Forward(x.Pointer, y.Pointer, rows, columns);
        Softmax.Backward(y.Pointer, dy.Pointer, dx.Pointer, rows, columns);
        Softmax.LogForward(x.Pointer, log.Pointer, rows, columns);
        Softmax.LogBackward(log.Pointer, dy.Pointer, dLog.Pointer, rows, columns);
        for (int r = 0; r < rows; r++)
        {
            int at = r * columns;
            double[] e = [.. x.Span.Slice(at, columns).ToArray().Select(v => Math.Exp(v))];
            double[] g = [.. dy.Span.Slice(at, columns).ToArray().Select(v => (double)v)];
            double sum = e.Sum(), dot = e.Zip(g, (a, b) => a * b / sum).Sum(), total = g.Sum();
            Near.Equal([.. e.Select(v => v / sum)], y.Span.Slice(at, columns), 1e-6);
            Near.Equal([.. e.Zip(g, (a, b) => a / sum * (b - dot))], dx.Span.Slice(at, columns), 1e-6);
            Near.Equal([.. e.Select(v => Math.Log(v / sum))], log.Span.Slice(at, columns), 1e-6);
            Near.Equal([.. e.Zip(g, (a, b) => b - a / sum * total)], dLog.Span.Slice(at, columns), 1e-5);
        }
    }

    [Fact]
    public void LargeLogitsDoNotOverflowAndTinyProbabilitiesKeepTheirLogarithm()
    {
        using var x = new GuardedFloats([1000f, 999f, -1000f, float.NegativeInfinity]);
        using var y = new GuardedFloats(4);
        Softmax.Forward(x.Pointer, y.Pointer, 1, 4);
        Near.Equal([0.7310585786, 0.2689414214, 0, 0], y.Span, 1e-6);
        Softmax.LogForward(x.Pointer, y.Pointer, 1, 4);
        Near.Equal([-0.3132616875, -1.3132616875, -2000.3132616875], y.Span[..3], 1e-6);
        Assert.Equal(float.NegativeInfinity, y[3]);
    }

    [Fact]
    public void WorksInPlaceAndOnAnyNumberOfThreads()
    {
        const int Rows = 3000, Columns = 19;
        using var x = GuardedFloats.Random(Rows * Columns, 1);
        using var expected = new GuardedFloats(Rows * Columns);
        Workers.Threads = 1;
        Softmax.Forward(x.Pointer, expected.Pointer, Rows, Columns);
        foreach (int threads in new[] { 1, 2, 8 })
        {
            Workers.Threads = threads;
            using var y = new GuardedFloats(x.Span);
            Softmax.Forward(y.Pointer, y.Pointer, Rows, Columns);
            Assert.True(expected.Span.SequenceEqual(y.Span));
        }
    }
}
