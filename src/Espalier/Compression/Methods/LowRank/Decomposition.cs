using Espalier.Tensors;
using Espalier.Tensors.Threading;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.LowRank;

/// <summary>
/// A matrix as a sum of products first_k · second_kᵀ, each adding as much as is possible: plain SVD, or SVD of what the matrix
/// gives on real rows. Everything is in double precision.
/// </summary>
/// <param name="Values">All singular values, the largest first.</param>
/// <param name="First">The vectors of the rows, as many as were asked for.</param>
/// <param name="Second">Those of the columns.</param>
internal sealed record Decomposition(double[] Values, double[][] First, double[][] Second)
{
    /// <summary>M ≈ Σ first_k second_kᵀ with the error Σ S_k² of what is left out; the root of S_k is on either side.</summary>
    /// <param name="m">[rows, columns].</param>
    /// <param name="count">How many terms; values are given of all.</param>
    public static Decomposition Of(double[] m, int rows, int columns, int count)
    {
        if (rows > columns)
        {
            Decomposition turned = Of(Transposed(m, rows, columns), columns, rows, count);
            return turned with { First = turned.Second, Second = turned.First };
        }
        var own = new SymmetricEigen(Gram(m, rows, columns), rows);
        var values = new double[rows];
        double[][] first = new double[Math.Min(count, rows)][], second = new double[first.Length][];
        double[] sides = Product(own.Vectors, rows, m, rows, columns);
        for (int k = 0; k < rows; k++)
        {
            // More exact than the root of the eigenvalue, where that is small beside the largest.
            ReadOnlySpan<double> side = sides.AsSpan(k * columns, columns);
            values[k] = TensorPrimitives.Norm(side);
            if (k >= first.Length) continue;
            double root = Math.Sqrt(values[k]);
            (first[k], second[k]) = (own.VectorOf(k).ToArray(), side.ToArray());
            TensorPrimitives.Multiply<double>(first[k], root, first[k]);
            if (root > 0) TensorPrimitives.Divide<double>(second[k], root, second[k]);
        }
        Array.Sort(values, (a, b) => b.CompareTo(a));
        return new Decomposition(values, first, second);
    }

    /// <summary>
    /// The terms that keep most of y = Wx on real rows, from what y is: U_r U_rᵀ W with the eigenvectors of E[y yᵀ] (or of y's
    /// covariance), whose eigenvalues are S².
    /// </summary>
    /// <param name="w">[inputs, outputs], the transposed weight.</param>
    /// <param name="moments">[outputs, outputs] of y without its bias.</param>
    public static Decomposition OfOutputs(double[] w, int inputs, int outputs, double[] moments, int count)
    {
        var own = new SymmetricEigen(moments, outputs);
        double[] sides = Product(own.Vectors, outputs, Transposed(w, inputs, outputs), outputs, inputs);
        int terms = Math.Min(count, outputs);
        return new Decomposition(Roots(own.Values),
            [.. Enumerable.Range(0, terms).Select(k => sides.AsSpan(k * inputs, inputs).ToArray())],
            [.. Enumerable.Range(0, terms).Select(k => own.VectorOf(k).ToArray())]).Balanced();
    }

    /// <summary>
    /// The same from what x is, which is quicker where x is the narrower side: with G = E[x xᵀ] = L Lᵀ and W L = U S Vᵀ the terms
    /// are U_r S_r V_rᵀ L⁻¹, which is U_r U_rᵀ W again, so that G may be singular.
    /// </summary>
    /// <param name="moments">[inputs, inputs] of x.</param>
    public static Decomposition OfInputs(double[] w, int inputs, int outputs, double[] moments, int count)
    {
        var x = new SymmetricEigen(moments, inputs);
        double[] roots = Roots(x.Values), white = Product(x.Vectors, inputs, w, inputs, outputs);
        for (int k = 0; k < inputs; k++)
        {
            Span<double> row = white.AsSpan(k * outputs, outputs);
            TensorPrimitives.Multiply(row, roots[k], row);
        }
        Decomposition inner = Of(white, inputs, outputs, count);
        foreach (double[] made in inner.Second)
            if (TensorPrimitives.Norm<double>(made) is var length and > 0) TensorPrimitives.Divide<double>(made, length, made);
        return new Decomposition(inner.Values, Array.ConvertAll(inner.Second, made =>
        {
            var read = new double[inputs];
            for (int i = 0; i < inputs; i++) read[i] = TensorPrimitives.Dot<double>(w.AsSpan(i * outputs, outputs), made);
            return read;
        }), inner.Second).Balanced();
    }

    /// <summary>[rows, columns] of the first terms together.</summary>
    public double[] Sum(int terms)
    {
        int rows = First.Length == 0 ? 0 : First[0].Length, columns = First.Length == 0 ? 0 : Second[0].Length;
        var sum = new double[rows * columns];
        for (int k = 0; k < Math.Min(terms, First.Length); k++)
        {
            for (int i = 0; i < rows; i++)
            {
                Span<double> row = sum.AsSpan(i * columns, columns);
                TensorPrimitives.MultiplyAdd(Second[k], First[k][i], row, row);
            }
        }
        return sum;
    }

    /// <summary>Both sides of each term with the same largest value, which quantisation likes.</summary>
    private Decomposition Balanced()
    {
        for (int k = 0; k < First.Length; k++)
        {
            double a = TensorPrimitives.MaxMagnitude<double>(First[k]), b = TensorPrimitives.MaxMagnitude<double>(Second[k]);
            if (a == 0 || b == 0) continue;
            double factor = Math.Sqrt(Math.Abs(b / a));
            TensorPrimitives.Multiply<double>(First[k], factor, First[k]);
            TensorPrimitives.Divide<double>(Second[k], factor, Second[k]);
        }
        return this;
    }

    private static double[] Roots(double[] values) => Array.ConvertAll(values, v => Math.Sqrt(Math.Max(0, v)));

    private static double[] Transposed(double[] m, int rows, int columns)
    {
        var turned = new double[m.Length];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) turned[j * rows + i] = m[i * columns + j];
        return turned;
    }

    /// <summary>M Mᵀ.</summary>
    private static double[] Gram(double[] m, int rows, int columns)
    {
        var gram = new double[rows * rows];
        Workers.For(rows, 1, new GramJob(m, gram, rows, columns));
        for (int i = 0; i < rows; i++)
            for (int j = i + 1; j < rows; j++) gram[i * rows + j] = gram[j * rows + i];
        return gram;
    }

    /// <summary>[n, depth] times [depth, columns].</summary>
    private static double[] Product(double[] a, int n, double[] b, int depth, int columns)
    {
        var product = new double[n * columns];
        Workers.For(n, 1, new ProductJob(a, b, product, depth, columns));
        return product;
    }

    private readonly struct GramJob(double[] m, double[] gram, int rows, int columns) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int at = start; at < end; at++)
            {
                // Short and long rows in turn, so that threads have as much to do.
                int i = at % 2 == 0 ? at / 2 : rows - 1 - at / 2;
                for (int j = 0; j <= i; j++)
                    gram[i * rows + j] = TensorPrimitives.Dot<double>(m.AsSpan(i * columns, columns),
                        m.AsSpan(j * columns, columns));
            }
        }
    }

    private readonly struct ProductJob(double[] a, double[] b, double[] product, int depth, int columns) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                Span<double> row = product.AsSpan(i * columns, columns);
                for (int k = 0; k < depth; k++) TensorPrimitives.MultiplyAdd(b.AsSpan(k * columns, columns), a[i * depth + k],
                    row, row);
            }
        }
    }
}
