using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels.Elementwise;

[Collection("Workers")]
public sealed unsafe class ColumnSumsTests : IDisposable
{
    private readonly int before = Workers.Threads;

    public void Dispose() => Workers.Threads = before;

    [Theory]
    [InlineData(0, 5)]
    [InlineData(1, 1)]
    [InlineData(7, 17)]
    [InlineData(50, 65)]
    [InlineData(3001, 63)]
    public void AddsTheRows(int rows, int columns)
    {
        int ld = columns + 2;
        using var x = GuardedFloats.Random(rows * ld, 1);
        double[] expected = new double[columns];
        for (int i = 0; i < rows * columns; i++) expected[i % columns] += x[i / columns * ld + i % columns];
        foreach (int threads in new[] { 1, 2, 8 })
        {
            Workers.Threads = threads;
            using var sums = new GuardedFloats(columns);
            ColumnSums.Run(x.Pointer, ld, rows, columns, sums.Pointer, accumulate: false);
            Near.Equal(expected, sums.Span, 2e-5);
            float[] first = sums.Span.ToArray();
            ColumnSums.Run(x.Pointer, ld, rows, columns, sums.Pointer, accumulate: false);
            Assert.Equal(first, sums.Span.ToArray());
            ColumnSums.Run(x.Pointer, ld, rows, columns, sums.Pointer, accumulate: true);
            Near.Equal([.. expected.Select(v => 2 * v)], sums.Span, 4e-5);
        }
    }
}
