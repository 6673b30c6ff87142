using Espalier.Compression;
using Espalier.Compression.Methods.LowRank;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Tests.Compression.Methods;

[Collection("Workers")]
public sealed class DecompositionTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(17)]
    [InlineData(150)]
    public void Eigenvectors_of_a_symmetric_matrix(int n)
    {
        double[] a = Symmetric(n, 5);
        var own = new SymmetricEigen(a, n);
        for (int k = 0; k < n; k++)
        {
            for (int j = 0; j < n; j++)
            {
                double[] times = [.. Enumerable.Range(0, n).Select(i => Dot(a.AsSpan(i * n, n), own.VectorOf(j)))];
                Assert.Equal(k == j ? own.Values[k] : 0, Dot(own.VectorOf(k), times), 1e-12 * n);
                Assert.Equal(k == j ? 1 : 0, Dot(own.VectorOf(k), own.VectorOf(j)), 1e-13 * n);
            }
        }
        Assert.Equal(own.Values.OrderDescending(), own.Values);
    }

    [Fact]
    public void Eigenvalues_that_are_equal_or_none()
    {
        double[] ones = [.. Enumerable.Range(0, 36).Select(i => i % 7 == 0 ? 3.0 : 1)];
        Close([8, 2, 2, 2, 2, 2], new SymmetricEigen(ones, 6).Values, 1e-13);
        Assert.Equal([0, 0], new SymmetricEigen(new double[4], 2).Values);
        Assert.Equal([5e-300, 1e-300, 0], new SymmetricEigen([1e-300, 0, 0, 0, 5e-300, 0, 0, 0, 0], 3).Values);
        Assert.Throws<EspalierException>(() => new SymmetricEigen([1, double.NaN, double.NaN, 1], 2));
    }

    /// <summary>Moments of dead channels, and of many that depend on few: beside the large eigenvalues there is nothing but rounding,
    /// in which steps once found no end.</summary>
    [Fact]
    public void Eigenvalues_end_in_noise()
    {
        const int n = 384, directions = 122;
        double[] a = new double[n * n], all = Random(n * directions, 4);
        for (int k = 0; k < directions; k++)
        {
            double weight = Math.Pow(10, -k / 20.0);
            Span<double> x = all.AsSpan(k * n, n);
            for (int i = 0; i < 253; i++)
                for (int j = 0; j < 253; j++) a[i * n + j] += weight * x[i] * x[j];
        }
        var own = new SymmetricEigen(a, n);
        double trace = Enumerable.Range(0, n).Sum(i => a[i * n + i]);
        Assert.Equal(trace, own.Values.Sum(), 1e-12 * trace);
        Assert.All(own.Values.Skip(directions), v => Assert.InRange(Math.Abs(v), 0, 1e-13 * own.Values[0]));
        for (int k = 0; k < n; k += 31)
        {
            double[] times = [.. Enumerable.Range(0, n).Select(i => Dot(a.AsSpan(i * n, n), own.VectorOf(k)))];
            for (int i = 0; i < n; i++) Assert.Equal(own.Values[k] * own.VectorOf(k)[i], times[i], 1e-12 * own.Values[0]);
        }
    }

    [Fact]
    public void Threads_change_no_bit()
    {
        int before = Workers.Threads;
        try
        {
            double[] a = Symmetric(200, 3);
            Workers.Threads = 1;
            var one = new SymmetricEigen(a, 200);
            Workers.Threads = 3;
            var three = new SymmetricEigen(a, 200);
            Assert.Equal(one.Values, three.Values);
            Assert.Equal(one.Vectors, three.Vectors);
        }
        finally
        {
            Workers.Threads = before;
        }
    }

    [Theory]
    [InlineData(9, 6)]
    [InlineData(6, 9)]
    public void The_error_of_fewer_terms_is_what_their_singular_values_say(int rows, int columns)
    {
        double[] m = Random(rows * columns, 1);
        Decomposition d = Decomposition.Of(m, rows, columns, 6);
        for (int r = 0; r <= 6; r++)
        {
            double error = Math.Sqrt(d.Sum(r) is { Length: > 0 } sum ? m.Zip(sum, (x, y) => (x - y) * (x - y)).Sum()
                : m.Sum(x => x * x));
            Assert.Equal(Math.Sqrt(d.Values.Skip(r).Sum(s => s * s)), error, 1e-13);
        }
        Assert.All(d.First.Zip(d.Second, d.Values), t => Assert.Equal(t.Third, t.First.Sum(x => x * x), 1e-12));
    }

    /// <summary>W = diag(2, 1), E[x xᵀ] = diag(1, 16): what is large in the weight is small in the output.</summary>
    [Fact]
    public void Activations_decide_what_is_kept()
    {
        double[] w = [2, 0, 0, 1];
        foreach (Decomposition d in (Decomposition[])[
            Decomposition.OfInputs(w, 2, 2, [1, 0, 0, 16], 2), Decomposition.OfOutputs(w, 2, 2, [4, 0, 0, 16], 2)])
        {
            Close([4, 2], d.Values, 1e-14);
            Close([0, 0, 0, 1], d.Sum(1), 1e-14);
        }
        Close([2, 0, 0, 0], Decomposition.Of(w, 2, 2, 2).Sum(1), 1e-14);
        Assert.Equal(4, Lost([0, 0, 0, 1]), 1e-14);
        Assert.Equal(16, Lost(Decomposition.Of(w, 2, 2, 2).Sum(1)), 1e-13);

        // Σ G_jj (w_ij - m_ij)², G being diagonal.
        double Lost(double[] m) => w.Zip(m).Select((p, i) => (i % 2 == 0 ? 1 : 16) * Math.Pow(p.First - p.Second, 2)).Sum();
    }

    /// <summary>W R = U S Vᵀ with G = R Rᵀ, be R Cholesky's factor or the symmetric root: U S Vᵀ R⁻¹ is what both forms give, and
    /// S² are the eigenvalues of W G Wᵀ.</summary>
    [Fact]
    public void Any_root_of_the_moments_gives_the_same()
    {
        double[] w = Random(70, 2), wt = Turned(w, 7), g = Moment(Random(400, 3), 10), gw = Times(w, g, 10, 10);
        double[] response = Times(gw, w, 10, 7);
        Decomposition outputs = Decomposition.OfOutputs(wt, 10, 7, response, 7), inputs = Decomposition.OfInputs(wt, 10, 7, g, 7);
        Close([.. new SymmetricEigen(response, 7).Values], [.. inputs.Values.Select(s => s * s)], 1e-12);
        Close(outputs.Values, inputs.Values, 1e-12);

        double[] back = Cholesky.Of(g, 10)!.InverseOfLower();
        var own = new SymmetricEigen(g, 10);
        foreach (var (root, inverse) in ((double[], double[])[])[(Times(g, back, 10, 10), back), (Power(0.5), Power(-0.5))])
        {
            Close(g, Times(root, root, 10, 10), 1e-12);
            Decomposition white = Decomposition.Of(Times(w, Turned(root, 10), 10, 10), 7, 10, 7);
            Close(inputs.Values, white.Values, 1e-12);
            double[] kept = Times(white.Sum(3), Turned(inverse, 10), 10, 10);
            Close(kept, Turned(inputs.Sum(3), 10), 1e-12);
            Close(kept, Turned(outputs.Sum(3), 10), 1e-12);
        }

        double[] Power(double p) => [.. Enumerable.Range(0, 100).Select(i => Enumerable.Range(0, 10).Sum(k =>
            own.VectorOf(k)[i / 10] * Math.Pow(own.Values[k], p) * own.VectorOf(k)[i % 10]))];
    }

    /// <summary>All terms are the layer, and two are a response of two dimensions: of values as they are, and around their
    /// mean.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Nothing_is_lost_where_there_are_ranks_enough(bool centred)
    {
        double[] w = Random(70, 2), wt = Turned(w, 7), x = [.. Random(400, 3).Select((v, i) => v + i % 10)];
        double[] y = Times(x, w, 10, 7);
        foreach (Decomposition d in Both(x, y, 7))
        {
            Close(wt, d.Sum(7), 1e-12);
            Close(y, Restored(d, x, y, 7), 1e-12);
        }
        double[] flat = Times(Random(80, 6), Random(20, 7), 2, 10);
        double[] moved = [.. flat.Select((v, i) => v + (centred ? i % 10 : 0))];
        double[] response = Times(moved, w, 10, 7);
        foreach (Decomposition d in Both(moved, response, 2))
        {
            Assert.InRange(d.Values[2], 0, 1e-6);
            Close(response, Restored(d, moved, response, 2), 1e-11);
        }

        Decomposition[] Both(double[] x, double[] y, int terms) => [
            Decomposition.OfInputs(wt, 10, 7, Moment(centred ? Deviations(x, 10) : x, 10), terms),
            Decomposition.OfOutputs(wt, 10, 7, Moment(centred ? Deviations(y, 7) : y, 7), terms)];

        // What the terms make, and where centred of the mean what they do not.
        double[] Restored(Decomposition d, double[] x, double[] y, int terms)
        {
            double[] made = Times(x, Turned(d.Sum(terms), 10), 10, 7), missing = new double[7];
            if (centred) for (int i = 0; i < y.Length; i++) missing[i % 7] += (y[i] - made[i]) / (y.Length / 7);
            return [.. made.Select((v, i) => v + missing[i % 7])];
        }
    }

    [Fact]
    public void Both_sides_give_the_same_and_the_tail_is_the_error()
    {
        double[] w = Random(70, 2), x = Random(400, 3), wt = Turned(w, 7);
        double[] g = Moment(x, 10), y = Times(x, w, 10, 7), out2 = Moment(y, 7);
        Decomposition inputs = Decomposition.OfInputs(wt, 10, 7, g, 7), outputs = Decomposition.OfOutputs(wt, 10, 7, out2, 7);
        Close(inputs.Values, outputs.Values, 1e-12);
        Close(inputs.Sum(3), outputs.Sum(3), 1e-12);
        Close(wt, inputs.Sum(7), 1e-12);
        Close(wt, outputs.Sum(7), 1e-12);
        Assert.Equal(outputs.Values.Skip(3).Sum(s => s * s), Error(outputs.Sum(3)), 1e-12);

        // Ten times the input: the same terms, a hundred times the error.
        Decomposition larger = Decomposition.OfInputs(wt, 10, 7, [.. g.Select(v => 100 * v)], 7);
        Close(inputs.Sum(3), larger.Sum(3), 1e-12);
        Close([.. inputs.Values.Select(s => 10 * s)], larger.Values, 1e-11);

        // Inputs in a space of 7 dimensions: G has no inverse.
        double[] flat = Times(Random(280, 4), Random(70, 5), 7, 10);
        (x, y) = (flat, Times(flat, w, 10, 7));
        inputs = Decomposition.OfInputs(wt, 10, 7, Moment(flat, 10), 7);
        outputs = Decomposition.OfOutputs(wt, 10, 7, Moment(y, 7), 7);
        Close(inputs.Values, outputs.Values, 1e-10);
        double tail = outputs.Values.Skip(3).Sum(s => s * s);
        Assert.Equal(tail, Error(outputs.Sum(3)), 1e-11 * tail);
        Assert.Equal(tail, Error(inputs.Sum(3)), 1e-9 * tail);

        // A response of two dimensions needs two ranks.
        double[] two = Times(Random(80, 6), Random(20, 7), 2, 10);
        (x, y) = (two, Times(two, w, 10, 7));
        Assert.Equal(0, Error(Decomposition.OfOutputs(wt, 10, 7, Moment(y, 7), 2).Sum(2)), 1e-20);
        Assert.Equal(0, Error(Decomposition.OfInputs(wt, 10, 7, Moment(two, 10), 2).Sum(2)), 1e-20);

        double Error(double[] sum)
        {
            double[] made = Times(x, [.. Enumerable.Range(0, 70).Select(i => sum[i % 10 * 7 + i / 10])], 10, 7);
            return y.Zip(made, (a, b) => (a - b) * (a - b)).Sum() / (x.Length / 10);
        }
    }

    /// <summary>[n, rows] of [rows, n].</summary>
    private static double[] Turned(double[] m, int rows) =>
        [.. Enumerable.Range(0, m.Length).Select(i => m[i % rows * (m.Length / rows) + i / rows])];

    private static double[] Deviations(double[] rows, int n) =>
        [.. rows.Select((v, i) => v - Enumerable.Range(0, rows.Length / n).Average(r => rows[r * n + i % n]))];

    /// <summary>Rows [.., n] times W [m, n] transposed.</summary>
    private static double[] Times(double[] x, double[] w, int n, int m) => [.. Enumerable.Range(0, x.Length / n * m)
        .Select(i => Dot(x.AsSpan(i / m * n, n), w.AsSpan(i % m * n, n)))];

    private static double[] Moment(double[] rows, int n) => [.. Enumerable.Range(0, n * n)
        .Select(k => Enumerable.Range(0, rows.Length / n).Average(r => rows[r * n + k / n] * rows[r * n + k % n]))];

    private static double[] Symmetric(int n, ulong seed)
    {
        double[] a = Random(n * n, seed);
        for (int i = 0; i < n; i++) for (int j = 0; j < i; j++) a[i * n + j] = a[j * n + i];
        return a;
    }

    private static double[] Random(int count, ulong seed)
    {
        var rng = new Rng(seed);
        var values = new double[count];
        for (int i = 0; i < count; i++) values[i] = 2 * rng.NextDouble() - 1;
        return values;
    }

    private static double Dot(ReadOnlySpan<double> a, ReadOnlySpan<double> b) =>
        System.Numerics.Tensors.TensorPrimitives.Dot(a, b);

    private static void Close(double[] expected, double[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < actual.Length; i++) Assert.Equal(expected[i], actual[i], tolerance);
    }
}
