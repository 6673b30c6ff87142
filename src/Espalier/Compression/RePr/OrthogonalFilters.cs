using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

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
