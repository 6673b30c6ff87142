using System.Numerics;
using Espalier.Tensors.Threading;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Tensors;

/// <summary>
/// Eigenvalues and eigenvectors of a symmetric matrix in double precision: Householder's reduction to three diagonals, then
/// implicit QL steps with Wilkinson's shift (Golub and Van Loan, chapter 8). 512 rows take a fraction of a second, 2,000 some ten
/// of them. What threads share is the same whatever their number.
/// </summary>
internal sealed unsafe class SymmetricEigen
{
    private const int MostSteps = 60;

    // Half a unit in the last place of 1, which the largest value is: the reduction has rounded more than this off. What is left below
    // it, of channels that are dead or copies of each other, is noise in which QL steps find no end.
    private const double Negligible = 1.0 / (1L << 53);

    private readonly double[] off, rotations;
    private readonly int n;

    /// <param name="a">[n, n].</param>
    /// <exception cref="EspalierException">A value is not finite.</exception>
    public SymmetricEigen(ReadOnlySpan<double> a, int n)
    {
        if (a.Length != (long)n * n) throw new ArgumentException($"{a.Length} values are no matrix of {n} rows");
        (this.n, Values, off, rotations) = (n, new double[n], new double[n], new double[2 * n]);
        double scale = 0;
        foreach (double x in a)
        {
            if (!double.IsFinite(x)) throw new EspalierException("weights or activations are not finite, without eigenvalues");
            scale = Math.Max(scale, Math.Abs(x));
        }
        Vectors = new double[a.Length];
        if (scale == 0)
        {
            for (int i = 0; i < n; i++) Vectors[(long)i * n + i] = 1;
            return;
        }
        double[] work = new double[a.Length];
        TensorPrimitives.Divide(a, scale, work);
        double[] factors = Reduce(work);
        fixed (double* w = work, z = Vectors, f = factors) Workers.For(n, 1, new Accumulate(n, w, z, f));
        Diagonalise();
        TensorPrimitives.Multiply(Values, scale, Values);
        Sort();
    }

    /// <summary>The largest first.</summary>
    public double[] Values { get; }

    /// <summary>[n, n], each row an eigenvector of length 1.</summary>
    public double[] Vectors { get; private set; }

    /// <summary>The eigenvector of value <paramref name="k"/>.</summary>
    public ReadOnlySpan<double> VectorOf(int k) => Vectors.AsSpan(k * n, n);

    /// <summary>Leaves the diagonals in <see cref="Values"/> and off, and each reflection I - f v vᵀ as a row of the
    /// matrix.</summary>
    /// <returns>The factors f.</returns>
    private double[] Reduce(double[] a)
    {
        var factors = new double[n];
        double[] product = new double[n];
        for (int k = 0; k < n; k++)
        {
            Values[k] = a[(long)k * n + k];
            if (k == n - 1) break;
            int rest = n - k - 1;
            Span<double> v = a.AsSpan(k * n + k + 1, rest);
            double below = rest > 1 ? TensorPrimitives.Norm<double>(v[1..]) : 0;
            if (below == 0)
            {
                off[k] = v[0];
                continue;
            }
            double length = Math.Sqrt(v[0] * v[0] + below * below), to = v[0] > 0 ? -length : length;
            off[k] = to;
            v[0] -= to;
            double f = factors[k] = 2 / (v[0] * v[0] + below * below);
            fixed (double* p = a, w = product)
            {
                double* own = p + (long)k * n + k + 1, block = p + (long)(k + 1) * n + k + 1;
                Workers.For(rest, Grain(rest), new Times(n, rest, block, own, w, f));
                Span<double> y = product.AsSpan(0, rest);
                TensorPrimitives.MultiplyAdd(v, -f / 2 * TensorPrimitives.Dot<double>(v, y), y, y);
                Workers.For(rest, Grain(rest), new Update(n, rest, block, own, w));
            }
        }
        return factors;
    }

    private void Diagonalise()
    {
        for (int first = 0; first < n; first++)
        {
            for (int step = 0; ; step++)
            {
                int last = first;
                while (last < n - 1 && Math.Abs(Values[last]) + Math.Abs(Values[last + 1]) is var d
                    && Math.Abs(off[last]) + d != d && Math.Abs(off[last]) > Negligible)
                    last++;
                if (last == first) break;
                if (step == MostSteps) throw new InvalidOperationException("the eigenvalues do not converge");
                int from = Step(first, last);
                fixed (double* z = Vectors, r = rotations)
                    Workers.For(n, Math.Max(64, Grain(last - from)), new Turn(n, from, last, z, r));
            }
        }
    }

    /// <summary>One QL step on rows first to last.</summary>
    /// <returns>The first row that was turned; the rotations of rows i and i + 1 are kept.</returns>
    private int Step(int first, int last)
    {
        double g = (Values[first + 1] - Values[first]) / (2 * off[first]), r = Math.Sqrt(g * g + 1);
        g = Values[last] - Values[first] + off[first] / (g + Math.CopySign(r, g));
        double s = 1, c = 1, p = 0;
        for (int i = last - 1; i >= first; i--)
        {
            double f = s * off[i], b = c * off[i];
            r = Math.Sqrt(f * f + g * g);
            off[i + 1] = r;
            if (r == 0)
            {
                Values[i + 1] -= p;
                off[last] = 0;
                return i + 1;
            }
            (s, c) = (f / r, g / r);
            g = Values[i + 1] - p;
            r = (Values[i] - g) * s + 2 * c * b;
            p = s * r;
            Values[i + 1] = g + p;
            g = c * r - b;
            (rotations[2 * i], rotations[2 * i + 1]) = (c, s);
        }
        Values[first] -= p;
        off[first] = g;
        off[last] = 0;
        return first;
    }

    private void Sort()
    {
        int[] order = [.. Enumerable.Range(0, n).OrderByDescending(i => Values[i])];
        var sorted = new double[Vectors.Length];
        for (int k = 0; k < n; k++) VectorOf(order[k]).CopyTo(sorted.AsSpan(k * n, n));
        Vectors = sorted;
        order.Select(i => Values[i]).ToArray().CopyTo(Values, 0);
    }

    /// <summary>Rows worth a thread: there are thousands of such calls.</summary>
    private static int Grain(int row) => Math.Max(1, 100_000 / Math.Max(1, row));

    private static Span<double> Row(double* at, int count) => new(at, count);

    /// <summary>product = f · block · v.</summary>
    private readonly struct Times(int n, int rest, double* block, double* v, double* product, double f) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            Span<double> own = Row(v, rest);
            for (int i = start; i < end; i++) product[i] = f * TensorPrimitives.Dot<double>(Row(block + (long)i * n, rest), own);
        }
    }

    /// <summary>block -= v wᵀ + w vᵀ.</summary>
    private readonly struct Update(int n, int rest, double* block, double* v, double* w) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                Span<double> row = Row(block + (long)i * n, rest);
                TensorPrimitives.MultiplyAdd<double>(Row(w, rest), -v[i], row, row);
                TensorPrimitives.MultiplyAdd<double>(Row(v, rest), -w[i], row, row);
            }
        }
    }

    /// <summary>Rows of the product of all reflections, the last one first.</summary>
    private readonly struct Accumulate(int n, double* v, double* z, double* factors) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                z[(long)i * n + i] = 1;
                for (int k = Math.Min(i - 1, n - 2); k >= 0; k--)
                {
                    if (factors[k] == 0) continue;
                    int rest = n - k - 1;
                    Span<double> row = Row(z + (long)i * n + k + 1, rest), own = Row(v + (long)k * n + k + 1, rest);
                    TensorPrimitives.MultiplyAdd(own, -factors[k] * TensorPrimitives.Dot<double>(row, own), row, row);
                }
            }
        }
    }

    /// <summary>The rotations of a step, on some columns of the vectors.</summary>
    private readonly struct Turn(int n, int first, int last, double* z, double* rotations) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = last - 1; i >= first; i--)
            {
                double c = rotations[2 * i], s = rotations[2 * i + 1];
                double* a = z + (long)i * n, b = a + n;
                int j = start;
                for (; j <= end - Vector<double>.Count; j += Vector<double>.Count)
                {
                    Vector<double> x = Vector.Load(a + j), y = Vector.Load(b + j);
                    Vector.Store(s * x + c * y, b + j);
                    Vector.Store(c * x - s * y, a + j);
                }
                for (; j < end; j++) (a[j], b[j]) = (c * a[j] - s * b[j], s * a[j] + c * b[j]);
            }
        }
    }
}
