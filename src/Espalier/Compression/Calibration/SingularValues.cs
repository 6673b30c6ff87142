namespace Espalier.Compression;

/// <summary>
/// A = U diag(s) Vᵀ by one-sided Jacobi rotations (Hestenes 1958): slow for large matrices, exact to rounding for small ones. Of a
/// symmetric positive matrix these are its eigenvalues and eigenvectors.
/// </summary>
internal sealed class SingularValues
{
    private const int MostSweeps = 60;

    /// <param name="a">[m, n], m at least n.</param>
    public SingularValues(ReadOnlySpan<double> a, int m, int n)
    {
        // Columns are kept as rows: rotations work on neighbours in memory.
        var u = new double[n][];
        var v = new double[n][];
        for (int j = 0; j < n; j++)
        {
            (u[j], v[j]) = (new double[m], new double[n]);
            for (int i = 0; i < m; i++) u[j][i] = a[i * n + j];
            v[j][j] = 1;
        }
        for (int sweep = 0; sweep < MostSweeps && Sweep(u, v); sweep++)
        {
        }
        double[] s = [.. u.Select(c => Math.Sqrt(Dot(c, c)))];
        int[] order = [.. Enumerable.Range(0, n).OrderByDescending(j => s[j])];
        Values = [.. order.Select(j => s[j])];
        Left = [.. order.Select(j => s[j] > 0 ? Array.ConvertAll(u[j], x => x / s[j]) : u[j])];
        Right = [.. order.Select(j => v[j])];
    }

    /// <summary>The largest first.</summary>
    public double[] Values { get; }

    /// <summary>[n][m] columns of U.</summary>
    public double[][] Left { get; }

    /// <summary>[n][n] columns of V.</summary>
    public double[][] Right { get; }

    /// <summary>The symmetric power of a symmetric positive matrix, what is nearly singular in it left out: A^(1/2), A^(-1/2).
    /// </summary>
    public static double[] Power(ReadOnlySpan<double> a, int n, double exponent)
    {
        var own = new SingularValues(a, n, n);
        var power = new double[n * n];
        for (int k = 0; k < n; k++)
        {
            if (own.Values[k] <= 1e-12 * own.Values[0]) continue;
            double value = Math.Pow(own.Values[k], exponent);
            for (int i = 0; i < n; i++)
                for (int j = 0; j < n; j++) power[i * n + j] += value * own.Right[k][i] * own.Right[k][j];
        }
        return power;
    }

    private static bool Sweep(double[][] u, double[][] v)
    {
        bool turned = false;
        for (int p = 0; p < u.Length; p++)
        {
            for (int q = p + 1; q < u.Length; q++)
            {
                double alpha = Dot(u[p], u[p]), beta = Dot(u[q], u[q]), gamma = Dot(u[p], u[q]);
                if (Math.Abs(gamma) <= 1e-15 * Math.Sqrt(alpha * beta)) continue;
                turned = true;
                double zeta = (beta - alpha) / (2 * gamma);
                double t = (zeta < 0 ? -1 : 1) / (Math.Abs(zeta) + Math.Sqrt(1 + zeta * zeta));
                double c = 1 / Math.Sqrt(1 + t * t);
                Turn(u[p], u[q], c, c * t);
                Turn(v[p], v[q], c, c * t);
            }
        }
        return turned;
    }

    private static void Turn(double[] a, double[] b, double c, double s)
    {
        for (int i = 0; i < a.Length; i++) (a[i], b[i]) = (c * a[i] - s * b[i], s * a[i] + c * b[i]);
    }

    private static double Dot(double[] a, double[] b) => System.Numerics.Tensors.TensorPrimitives.Dot<double>(a, b);
}
