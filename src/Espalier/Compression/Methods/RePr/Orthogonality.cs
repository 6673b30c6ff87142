using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.RePr;

/// <summary>
/// How much the filters of a layer overlap (arXiv 1811.07275, eq. 2): O_f = (1/J) Σ |cos(w_f, w_j)| over the J - 1 others. 0 for
/// a filter that is orthogonal to all, (J - 1)/J for one that is parallel to all.
/// </summary>
internal static class FilterOverlap
{
    /// <summary>Of each row of a weight [J, ...]; bias and norm take no part.</summary>
    public static double[] Of(Tensor weight) =>
        Of([.. Enumerable.Range(0, weight.Shape[0]).Select(row => FilterWeights.Row(weight, row).ToArray())]);

    /// <summary>Of filters of equal length, which are not changed. One without weights overlaps with none.</summary>
    public static double[] Of(IReadOnlyList<float[]> filters)
    {
        int count = filters.Count;
        var units = new float[count][];
        for (int f = 0; f < count; f++)
        {
            units[f] = new float[filters[f].Length];
            TensorPrimitives.Divide(filters[f], MathF.Max(TensorPrimitives.Norm<float>(filters[f]), 1e-12f), units[f]);
        }
        var overlap = new double[count];
        for (int f = 0; f < count; f++)
        {
            for (int other = 0; other < f; other++)
            {
                double cosine = Math.Abs(TensorPrimitives.Dot<float>(units[f], units[other]));
                overlap[f] += cosine;
                overlap[other] += cosine;
            }
        }
        return [.. overlap.Select(sum => sum / count)];
    }

    /// <summary>
    /// Of each channel of a group, times its filters' fan-in d to the power <paramref name="alpha"/>. Random filters overlap by
    /// about sqrt(2 / (pi d)), so 1/2 makes layers of different fan-in compare; 0 leaves the values as they are. Where several
    /// filters make a channel, the mean over them.
    /// </summary>
    public static double[] Of(ChannelGroup group, double alpha)
    {
        var sums = new double[group.Count];
        var filters = new int[group.Count];
        foreach (GroupSlice slice in FilterWeights.Of(group))
        {
            double[] overlap = Of(slice.Tensor);
            double scale = Math.Pow(slice.Tensor.Length / slice.Tensor.Shape[0], alpha);
            for (int k = 0; k < sums.Length; k++)
            {
                sums[k] += scale * slice.Entries[k].Sum(row => overlap[row]);
                filters[k] += slice.Entries[k].Length;
            }
        }
        return [.. sums.Select((sum, k) => sum / filters[k])];
    }
}

/// <summary>Which filters go when the layers' overlaps are known.</summary>
internal static class DropRule
{
    /// <summary>The share that each layer keeps at least.</summary>
    public const double LeastShare = 0.1;

    /// <summary>
    /// The filters of each layer to drop, rising. Globally those above the percentile of 1 - <paramref name="share"/>; else the
    /// floor of the share of each layer. The most overlapping go first, the lower number where two are equal.
    /// </summary>
    /// <param name="overlap">For each layer a value a filter.</param>
    /// <param name="fewest">What a layer of so many filters keeps at least.</param>
    public static int[][] Choose(IReadOnlyList<double[]> overlap, double share, bool global, Func<int, int> fewest)
    {
        double threshold = Percentile([.. overlap.SelectMany(o => o)], 1 - share);
        return [.. overlap.Select(o =>
        {
            int wanted = global ? o.Count(x => x > threshold) : (int)Math.Floor(share * o.Length + 1e-9);
            int count = Math.Min(wanted, o.Length - fewest(o.Length));
            return Enumerable.Range(0, o.Length).OrderByDescending(f => o[f]).ThenBy(f => f).Take(count).Order().ToArray();
        })];
    }

    /// <summary>One filter, or a tenth.</summary>
    public static int Fewest(int filters) => Math.Max(1, (int)Math.Ceiling(LeastShare * filters - 1e-9));

    /// <summary>With linear interpolation between neighbours, as NumPy has it.</summary>
    public static double Percentile(double[] values, double share)
    {
        double[] sorted = [.. values.Order()];
        double place = share * (sorted.Length - 1);
        int below = (int)Math.Floor(place);
        double above = sorted[Math.Min(below + 1, sorted.Length - 1)];
        return sorted[below] + (place - below) * (above - sorted[below]);
    }
}

/// <summary>
/// Fresh weights for the dropped filters of a layer: orthogonal to what they were and to the filters that stayed, as far as the
/// d weights of a filter leave room for that.
/// </summary>
/// <param name="clip">
/// Limit each entry of a unit vector to 1/sqrt(d), as the reference code does; it is no longer orthogonal then. Else filters get
/// the mean norm of those that stayed.
/// </param>
/// <param name="relax">Where no direction is left, be orthogonal to the most overlapping filters, as many as leave one.</param>
internal sealed class OrthogonalFilters(bool clip, bool relax)
{
    /// <param name="old">The dropped filters as they were, [d] each; as many new ones come back.</param>
    /// <param name="stayed">The other filters of the layer as they are now.</param>
    public float[][] Make(IReadOnlyList<float[]> old, IReadOnlyList<float[]> stayed, ref Rng rng)
    {
        int length = old[0].Length;
        float bound = 1 / MathF.Sqrt(length);
        double norm = Norm(stayed);
        List<double[]> directions = Directions(old, stayed, length, ref rng);
        var made = new float[old.Count][];
        for (int i = 0; i < made.Length; i++)
        {
            made[i] = new float[length];
            for (int k = 0; k < length; k++)
            {
                made[i][k] = i >= directions.Count ? rng.NextFloat(-bound, bound)
                    : clip ? Math.Clamp((float)directions[i][k], -bound, bound) : (float)(norm * directions[i][k]);
            }
        }
        return made;
    }

    /// <summary>Unit vectors, as many as there is room for and at most one a dropped filter.</summary>
    private List<double[]> Directions(IReadOnlyList<float[]> old, IReadOnlyList<float[]> stayed, int length, ref Rng rng)
    {
        float[][] all = [.. old, .. stayed];
        var qr = new PivotedQr([.. all.Select(Doubles)], length);
        List<double[]> found = [.. qr.NullDirections(Math.Min(old.Count, qr.NullDimension), ref rng)];
        int missing = Math.Min(old.Count, length) - found.Count;
        if (!relax || missing <= 0) return found;
        double[] overlap = FilterOverlap.Of(all);
        IEnumerable<int> most = Enumerable.Range(0, all.Length).OrderByDescending(f => overlap[f]).ThenBy(f => f);
        var loose = new PivotedQr([.. found, .. most.Take(length - found.Count - missing).Select(f => Doubles(all[f]))], length);
        found.AddRange(loose.NullDirections(missing, ref rng));
        return found;
    }

    /// <summary>The mean norm; 1 where there is none, so that a filter can learn at all.</summary>
    private static double Norm(IReadOnlyList<float[]> filters)
    {
        double mean = filters.Select(f => (double)TensorPrimitives.Norm<float>(f)).DefaultIfEmpty().Average();
        return mean > 0 ? mean : 1;
    }

    private static double[] Doubles(float[] values) => Array.ConvertAll(values, v => (double)v);
}

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
