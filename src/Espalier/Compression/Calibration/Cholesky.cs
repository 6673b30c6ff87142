using Espalier.Tensors.Threading;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

/// <summary>A = L Lᵀ of a symmetric positive definite matrix in double precision, for solving with it.</summary>
internal sealed unsafe class Cholesky
{
    /// <summary>Columns that are finished together, and rows that are solved together while L comes by.</summary>
    private const int Block = 48;

    private readonly double[] lower;
    private readonly int n;

    private Cholesky(double[] lower, int n) => (this.lower, this.n) = (lower, n);

    /// <summary>The factor of A + ridge·I; null where that is not positive definite.</summary>
    /// <param name="a">[n, n].</param>
    public static Cholesky? Of(ReadOnlySpan<double> a, int n, double ridge = 0)
    {
        double[] l = a.ToArray();
        for (int i = 0; i < n; i++) l[(long)i * n + i] += ridge;
        fixed (double* p = l)
        {
            for (int first = 0; first < n; first += Block)
            {
                int end = Math.Min(n, first + Block);
                Workers.For(n - first, Math.Max(1, 20_000 / (Block * Math.Max(1, first))), new Update(p, n, first, end));
                if (!Diagonal(p, n, first, end)) return null;
                Workers.For(n - end, Math.Max(1, 20_000 / (Block * Block)), new Below(p, n, first, end));
            }
        }
        return new Cholesky(l, n);
    }

    /// <summary>The factor of A with a ridge of a share of its mean diagonal, ten times more again and again until it is
    /// there.</summary>
    /// <param name="trace">Of A; finite and above 0.</param>
    /// <param name="least">The share that is tried second at least.</param>
    public static Cholesky Ridged(ReadOnlySpan<double> a, int n, double trace, double share, double least)
    {
        Cholesky? factor;
        for (; (factor = Of(a, n, share * trace / n)) is null;) share = Math.Max(least, share * 10);
        return factor;
    }

    /// <summary>Each row b of B becomes b A⁻¹.</summary>
    /// <param name="b">[rows, n].</param>
    public void SolveRows(Span<double> b)
    {
        int rows = b.Length / n;
        fixed (double* l = lower, p = b) Workers.For((rows + Block - 1) / Block, 1, new Solve(l, n, p, rows));
    }

    /// <summary>[n, n] L⁻¹, row-major, with zeros above the diagonal.</summary>
    public double[] InverseOfLower()
    {
        var inverse = new double[lower.Length];
        for (int i = 0; i < n; i++)
        {
            Span<double> row = inverse.AsSpan(i * n, i + 1);
            row[i] = 1;
            for (int k = 0; k < i; k++)
                TensorPrimitives.MultiplyAdd(inverse.AsSpan(k * n, k + 1), -lower[(long)i * n + k], row[..(k + 1)], row[..(k + 1)]);
            TensorPrimitives.Divide(row, lower[(long)i * n + i], row);
        }
        return inverse;
    }

    private static bool Diagonal(double* l, int n, int first, int end)
    {
        for (int i = first; i < end; i++)
        {
            for (int j = first; j <= i; j++)
            {
                double left = l[(long)i * n + j] - Dot(l + (long)i * n + first, l + (long)j * n + first, j - first);
                if (j < i) l[(long)i * n + j] = left / l[(long)j * n + j];
                else if (left > 0 && double.IsFinite(left)) l[(long)i * n + i] = Math.Sqrt(left);
                else return false;
            }
        }
        return true;
    }

    private static double Dot(double* a, double* b, int count) =>
        TensorPrimitives.Dot(new ReadOnlySpan<double>(a, count), new ReadOnlySpan<double>(b, count));

    /// <summary>Takes what is finished to the left off a block of columns, row by row.</summary>
    private readonly struct Update(double* l, int n, int first, int end) : IRangeJob
    {
        public void Run(int start, int stop, int worker)
        {
            for (int i = first + start; i < first + stop; i++)
                for (int j = first; j < Math.Min(end, i + 1); j++)
                    l[(long)i * n + j] -= Dot(l + (long)i * n, l + (long)j * n, first);
        }
    }

    /// <summary>The rows below a finished diagonal block.</summary>
    private readonly struct Below(double* l, int n, int first, int end) : IRangeJob
    {
        public void Run(int start, int stop, int worker)
        {
            for (int i = end + start; i < end + stop; i++)
            {
                for (int j = first; j < end; j++)
                {
                    double left = l[(long)i * n + j] - Dot(l + (long)i * n + first, l + (long)j * n + first, j - first);
                    l[(long)i * n + j] = left / l[(long)j * n + j];
                }
            }
        }
    }

    /// <summary>L z = b, then Lᵀ x = z, for blocks of rows.</summary>
    private readonly struct Solve(double* l, int n, double* b, int rows) : IRangeJob
    {
        public void Run(int start, int stop, int worker)
        {
            for (int block = start; block < stop; block++)
            {
                int first = block * Block, end = Math.Min(rows, first + Block);
                for (int j = 0; j < n; j++)
                    for (int r = first; r < end; r++)
                        b[(long)r * n + j] = (b[(long)r * n + j] - Dot(l + (long)j * n, b + (long)r * n, j)) / l[(long)j * n + j];
                for (int j = n - 1; j >= 0; j--)
                {
                    var row = new ReadOnlySpan<double>(l + (long)j * n, j);
                    for (int r = first; r < end; r++)
                    {
                        double x = b[(long)r * n + j] /= l[(long)j * n + j];
                        var rest = new Span<double>(b + (long)r * n, j);
                        TensorPrimitives.MultiplyAdd(row, -x, rest, rest);
                    }
                }
            }
        }
    }
}
