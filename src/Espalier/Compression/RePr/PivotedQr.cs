using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

/// <summary>
/// QR factorisation with column pivoting by Householder reflections (Golub and Van Loan, Matrix Computations, 5.4.2): the rank of
/// some vectors, and directions orthogonal to all of them.
/// </summary>
internal sealed class PivotedQr
{
    /// <summary>From 1 to the next double.</summary>
    private const double Epsilon = 2.220446049250313e-16;

    private readonly int length;
    private readonly List<double[]> reflections = [];

    /// <param name="vectors">Of <paramref name="length"/> values each; not changed.</param>
    public PivotedQr(IReadOnlyList<double[]> vectors, int length)
    {
        this.length = length;
        double[][] left = [.. vectors.Select(v => (double[])v.Clone())];
        double tolerance = 0;
        for (int i = 0; i < Math.Min(length, left.Length); i++)
        {
            // Norms of what is left of each vector, exact: updating the old ones loses digits where vectors are nearly dependent.
            int pivot = i;
            double largest = -1;
            for (int j = i; j < left.Length; j++)
            {
                double norm = TensorPrimitives.Norm<double>(left[j].AsSpan(i));
                if (norm > largest) (pivot, largest) = (j, norm);
            }
            if (i == 0) tolerance = Math.Max(left.Length, length) * Epsilon * largest;
            if (!(largest > tolerance)) break;
            (left[i], left[pivot]) = (left[pivot], left[i]);
            double[] v = Reflection(left[i].AsSpan(i), largest);
            reflections.Add(v);
            for (int j = i + 1; j < left.Length; j++) Reflect(v, left[j].AsSpan(i));
        }
    }

    /// <summary>Of the vectors, up to rounding: the number of |R_ii| above max(number, length) · eps · |R_11|.</summary>
    public int Rank => reflections.Count;

    /// <summary>Dimensions that none of the vectors reaches.</summary>
    public int NullDimension => length - Rank;

    /// <summary>Random unit vectors, orthogonal to the factored ones and to one another.</summary>
    /// <param name="count">At most <see cref="NullDimension"/>.</param>
    public double[][] NullDirections(int count, ref Rng rng)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, NullDimension);
        var inner = new double[count][];
        for (int k = 0; k < count; k++) inner[k] = Unit(NullDimension, inner.AsSpan(0, k), ref rng);
        return [.. inner.Select(Direction)];
    }

    /// <summary>Q (0, z): the last columns of Q span what the vectors do not.</summary>
    private double[] Direction(double[] z)
    {
        var x = new double[length];
        z.CopyTo(x.AsSpan(Rank));
        for (int i = Rank - 1; i >= 0; i--) Reflect(reflections[i], x.AsSpan(i));
        return x;
    }

    /// <summary>A random direction with nothing of the others in it; taken away twice, as once leaves rounding errors.</summary>
    private static double[] Unit(int size, ReadOnlySpan<double[]> others, ref Rng rng)
    {
        var z = new double[size];
        double norm;
        do
        {
            foreach (ref double x in z.AsSpan()) x = rng.NextNormal();
            Normalise(z);
            for (int pass = 0; pass < 2; pass++)
            {
                foreach (double[] other in others)
                    TensorPrimitives.MultiplyAdd(other, -TensorPrimitives.Dot<double>(other, z), z, z);
            }
            norm = TensorPrimitives.Norm<double>(z);
        }
        while (norm < 1e-6);
        Normalise(z);
        return z;
    }

    private static void Normalise(double[] z) => TensorPrimitives.Divide(z, TensorPrimitives.Norm<double>(z), z);

    /// <summary>v with |v|² = 2, such that x - v (v·x) has all its <paramref name="norm"/> in the first entry.</summary>
    private static double[] Reflection(ReadOnlySpan<double> x, double norm)
    {
        double[] v = x.ToArray();
        v[0] += v[0] < 0 ? -norm : norm;
        TensorPrimitives.Multiply(v, Math.Sqrt(2) / TensorPrimitives.Norm<double>(v), v);
        return v;
    }

    private static void Reflect(double[] v, Span<double> x) =>
        TensorPrimitives.MultiplyAdd(v, -TensorPrimitives.Dot<double>(v, x), x, x);
}
