using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

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
