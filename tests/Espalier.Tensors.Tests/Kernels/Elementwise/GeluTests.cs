using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Elementwise;

public sealed unsafe class GeluTests
{
    // x, x Phi(x), Phi(x) + x phi(x), from the standard normal table to ten digits.
    public static TheoryData<float, double, double> Known => new()
    {
        { 0f, 0.0, 0.5 },
        { 1f, 0.8413447461, 1.0833154706 },
        { -1f, -0.1586552539, -0.0833154706 },
        { 2f, 1.9544997361, 1.0852318292 },
        { -3f, -0.0040496941, -0.0119456454 },
        { 9f, 9.0, 1.0 },
        { -9f, 0.0, 0.0 },
    };

    [Theory]
    [MemberData(nameof(Known))]
    public void AgreesWithTheTable(float x, double y, double derivative)
    {
        // Enough copies for whole vectors and a tail.
        const int Count = 21;
        using var xs = new GuardedFloats(Count);
        using var dy = new GuardedFloats(Count);
        using var output = new GuardedFloats(Count);
        xs.Span.Fill(x);
        dy.Span.Fill(2f);
        Gelu.Forward(xs.Pointer, output.Pointer, Count);
        Near.Equal([.. Enumerable.Repeat(y, Count)], output.Span, 1.5e-6);
        Gelu.Backward(xs.Pointer, dy.Pointer, output.Pointer, Count);
        Near.Equal([.. Enumerable.Repeat(2 * derivative, Count)], output.Span, 1.5e-6);
    }

    /// <summary>CLIP's: x / (1 + e^(-1.702 x)).</summary>
    [Theory]
    [InlineData(1f, 0.8457958)]
    [InlineData(-2f, -0.0643414)]
    [InlineData(0.5f, 0.3503884)]
    [InlineData(0f, 0.0)]
    [InlineData(90f, 90.0)]
    [InlineData(-90f, 0.0)]
    public void QuickGeluHasTheKnownValues(float x, double y)
    {
        const int Count = 21;
        using var xs = new GuardedFloats(Count);
        using var output = new GuardedFloats(Count);
        xs.Span.Fill(x);
        Gelu.Forward(xs.Pointer, output.Pointer, Count, 1.702f);
        Near.Equal([.. Enumerable.Repeat(y, Count)], output.Span, 1.5e-6);
    }

    [Fact]
    public void BackwardIsTheSlopeOfForward()
    {
        const int Count = 1003;
        const float Step = 1f / 64;
        using var x = new GuardedFloats(Count);
        using var up = new GuardedFloats(Count);
        using var down = new GuardedFloats(Count);
        using var dx = new GuardedFloats(Count);
        for (int i = 0; i < Count; i++) x[i] = (i - 500) / 100f;
        using var ones = new GuardedFloats(Count);
        ones.Span.Fill(1f);
        Gelu.Backward(x.Pointer, ones.Pointer, dx.Pointer, Count);
        Map.Unary(new AffineMap(1f, Step), x.Pointer, up.Pointer, Count);
        Map.Unary(new AffineMap(1f, -Step), x.Pointer, down.Pointer, Count);
        Gelu.Forward(up.Pointer, up.Pointer, Count);
        Gelu.Forward(down.Pointer, down.Pointer, Count);
        // The rounding of the values divided by the step, and the third derivative times its square.
        for (int i = 0; i < Count; i++) Assert.Equal((up[i] - down[i]) / (2 * Step), dx[i], 1.5e-4f);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(37, 67)]
    [InlineData(3000, 48)]
    public void BackwardRowsSumsItsColumns(int rows, int columns)
    {
        using var x = new GuardedFloats(rows * columns);
        using var dy = new GuardedFloats(rows * columns);
        using var expected = new GuardedFloats(rows * columns);
        using var sums = new GuardedFloats(columns);
        var rng = new Rng(5);
        for (int i = 0; i < x.Span.Length; i++) (x[i], dy[i]) = (2 * rng.NextNormal(), rng.NextNormal());
        sums.Span.Fill(1f);
        Gelu.Backward(x.Pointer, dy.Pointer, expected.Pointer, rows * columns);
        var total = new double[columns];
        for (int i = 0; i < rows * columns; i++) total[i % columns] += expected[i];

        Gelu.BackwardRows(x.Pointer, dy.Pointer, dy.Pointer, rows, columns, sums.Pointer, accumulate: true);

        Assert.Equal(expected.Span.ToArray(), dy.Span.ToArray());
        for (int c = 0; c < columns; c++) Assert.Equal(1 + total[c], sums[c], 2e-3);
    }
}
