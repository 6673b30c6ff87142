using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels.Norm;

[Collection("Workers")]
public sealed unsafe class LayerNormTests : IDisposable
{
    private const float Eps = 1e-6f;
    private readonly int before = Workers.Threads;

    public void Dispose() => Workers.Threads = before;

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 7)]
    [InlineData(17, 17)]
    [InlineData(50, 64)]
    [InlineData(7, 65)]
    [InlineData(197, 192)]
    [InlineData(63, 197)]
    public void AgreesWithTheFormula(int rows, int columns)
    {
        using var x = GuardedFloats.Random(rows * columns, 1, 3f);
        using var gamma = GuardedFloats.Random(columns, 2);
        using var beta = GuardedFloats.Random(columns, 3);
        using var dy = GuardedFloats.Random(rows * columns, 4);
        using var y = new GuardedFloats(rows * columns);
        using var dx = new GuardedFloats(rows * columns);
        using var mean = new GuardedFloats(rows);
        using var rstd = new GuardedFloats(rows);
        using var dgamma = new GuardedFloats(columns);
        using var dbeta = new GuardedFloats(columns);
        dgamma.Span.Fill(1f);
        dbeta.Span.Fill(2f);
        LayerNorm.Forward(
            x.Pointer, gamma.Pointer, beta.Pointer, Eps, rows, columns, y.Pointer, mean.Pointer, rstd.Pointer);
        LayerNorm.Backward(
            x.Pointer, gamma.Pointer, mean.Pointer, rstd.Pointer, dy.Pointer, rows, columns, dx.Pointer, accumulate: false,
            dgamma.Pointer, dbeta.Pointer);

        var expected = new Expected(x.Span, gamma.Span, beta.Span, dy.Span, rows, columns);
        // A single column has no deviations: its gradient is nothing times 1/sqrt(eps) = 1000.
        double tolerance = columns == 1 ? 1e-3 : 2e-5;
        Near.Equal(expected.Y, y.Span, tolerance);
        Near.Equal(expected.DX, dx.Span, tolerance);
        Near.Equal(expected.DGamma.Select(g => g + 1).ToArray(), dgamma.Span, tolerance);
        Near.Equal(expected.DBeta.Select(g => g + 2).ToArray(), dbeta.Span, tolerance);

        float[] once = dx.Span.ToArray();
        LayerNorm.Backward(
            x.Pointer, gamma.Pointer, mean.Pointer, rstd.Pointer, dy.Pointer, rows, columns, dx.Pointer, accumulate: true,
            null, null);
        for (int i = 0; i < once.Length; i++) Assert.Equal(2 * once[i], dx[i]);
    }

    [Fact]
    public void AMeanFarFromZeroCostsNoPrecision()
    {
        const int Columns = 193;
        using var x = new GuardedFloats(Columns);
        using var ones = new GuardedFloats(Columns);
        using var zeros = new GuardedFloats(Columns);
        using var y = new GuardedFloats(Columns);
        using var rstd = new GuardedFloats(1);
        ones.Span.Fill(1f);
        zeros.Span.Clear();
        for (int i = 0; i < Columns; i++) x[i] = 10_000f + (i % 2 == 0 ? 0.5f : -0.5f);
        LayerNorm.Forward(x.Pointer, ones.Pointer, zeros.Pointer, Eps, 1, Columns, y.Pointer, null, rstd.Pointer);
        // The difference of the mean square and the squared mean would be rounding noise of about 8 here.
        Assert.Equal(2f, rstd[0], 1e-3f);
    }

    [Fact]
    public void TheSameThreadCountGivesTheSameBits()
    {
        const int Rows = 1500, Columns = 65;
        using var x = GuardedFloats.Random(Rows * Columns, 1);
        using var dy = GuardedFloats.Random(Rows * Columns, 2);
        using var gamma = GuardedFloats.Random(Columns, 3);
        using var y = new GuardedFloats(Rows * Columns);
        using var statistics = new GuardedFloats(2 * Rows);
        using var dx = new GuardedFloats(Rows * Columns);
        using var parameters = new GuardedFloats(2 * Columns);
        float[] Run()
        {
            float* mean = statistics.Pointer, rstd = mean + Rows;
            parameters.Span.Clear();
            LayerNorm.Forward(x.Pointer, gamma.Pointer, gamma.Pointer, Eps, Rows, Columns, y.Pointer, mean, rstd);
            LayerNorm.Backward(
                x.Pointer, gamma.Pointer, mean, rstd, dy.Pointer, Rows, Columns, dx.Pointer, false,
                parameters.Pointer, parameters.Pointer + Columns);
            return [.. y.Span, .. dx.Span, .. parameters.Span];
        }

        Workers.Threads = 1;
        float[] one = Run();
        foreach (int threads in new[] { 1, 2, 8 })
        {
            Workers.Threads = threads;
            float[] first = Run();
            Assert.Equal(first, Run());
            // Only the sums over rows may depend on the number of threads, and they only to rounding.
            Assert.Equal(one[..(2 * Rows * Columns)], first[..(2 * Rows * Columns)]);
            Near.Equal(Array.ConvertAll(one, v => (double)v), first, 2e-5);
        }
    }

    [Fact]
    public void ReferenceGradientAgreesWithDifferences()
    {
        const int Columns = 9;
        using var x = GuardedFloats.Random(Columns, 1);
        using var gamma = GuardedFloats.Random(Columns, 2);
        using var dy = GuardedFloats.Random(Columns, 3);
        double[] gradient = new Expected(x.Span, gamma.Span, gamma.Span, dy.Span, 1, Columns).DX;
        for (int i = 0; i < Columns; i++)
        {
            double Loss(float step)
            {
                float[] moved = x.Span.ToArray();
                moved[i] += step;
                double[] y = new Expected(moved, gamma.Span, gamma.Span, dy.Span, 1, Columns).Y;
                return y.Zip(dy.Span.ToArray(), (a, b) => a * b).Sum();
            }

            const float Step = 1f / 4096;
            Assert.Equal((Loss(Step) - Loss(-Step)) / (2.0 * Step), gradient[i], 1e-5);
        }
    }

    /// <summary>The formulas in double precision.</summary>
    private sealed class Expected
    {
        public Expected(
            ReadOnlySpan<float> x, ReadOnlySpan<float> gamma, ReadOnlySpan<float> beta, ReadOnlySpan<float> dy,
            int rows, int columns)
        {
            (Y, DX, DGamma, DBeta) = (new double[x.Length], new double[x.Length], new double[columns], new double[columns]);
            for (int r = 0; r < rows; r++)
            {
                double mean = 0, variance = 0, meanG = 0, meanGN = 0;
                int at = r * columns;
                for (int c = 0; c < columns; c++) mean += (double)x[at + c] / columns;
                for (int c = 0; c < columns; c++) variance += (x[at + c] - mean) * (x[at + c] - mean) / columns;
                double rstd = 1 / Math.Sqrt(variance + Eps);
                for (int c = 0; c < columns; c++)
                {
                    double n = (x[at + c] - mean) * rstd, g = (double)dy[at + c] * gamma[c];
                    Y[at + c] = n * gamma[c] + beta[c];
                    DGamma[c] += dy[at + c] * n;
                    DBeta[c] += dy[at + c];
                    meanG += g / columns;
                    meanGN += g * n / columns;
                }

                for (int c = 0; c < columns; c++)
                {
                    double n = (x[at + c] - mean) * rstd;
                    DX[at + c] = rstd * ((double)dy[at + c] * gamma[c] - meanG - n * meanGN);
                }
            }
        }

        public double[] Y { get; }

        public double[] DX { get; }

        public double[] DGamma { get; }

        public double[] DBeta { get; }
    }
}
