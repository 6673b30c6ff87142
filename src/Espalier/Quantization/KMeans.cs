using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Quantization;

/// <summary>
/// k-means by Lloyd's rounds: each point goes to its nearest centre, each centre to the mean of its points. A centre without
/// points is put beside the one that has most.
/// </summary>
internal static class KMeans
{
    /// <summary>How often, in one round, centres without points are given new places.</summary>
    private const int MostAttempts = 100;

    /// <summary>How far apart a centre becomes two.</summary>
    private const float Apart = 1e-6f;

    /// <param name="points">[n, width], one after another.</param>
    /// <param name="centres">[K, width], where they begin; afterwards where they are.</param>
    /// <returns>The centre of each point; of equally near ones the first.</returns>
    public static int[] Run(float[] points, float[] centres, int width, int rounds, ref Rng rng)
    {
        int n = points.Length / width, count = centres.Length / width;
        int[] nearest = Assign(points, centres, width);
        // Where points are alike some centres stay without any, whatever is tried: that is found out once.
        bool hopeless = false;
        for (int round = 0; round < rounds; round++)
        {
            int attempt = 0;
            for (; !hopeless && attempt < MostAttempts && Split(nearest, centres, width, ref rng); attempt++)
                nearest = Assign(points, centres, width);
            hopeless |= attempt == MostAttempts;
            var (sums, sizes) = (new double[centres.Length], new int[count]);
            for (int p = 0; p < n; p++)
            {
                for (int i = 0; i < width; i++) sums[nearest[p] * width + i] += points[p * width + i];
                sizes[nearest[p]]++;
            }
            for (int i = 0; i < sums.Length; i++) if (sizes[i / width] > 0) centres[i] = (float)(sums[i] / sizes[i / width]);
            int[] next = Assign(points, centres, width);
            bool stable = next.AsSpan().SequenceEqual(nearest);
            nearest = next;
            if (stable) break;
        }
        return nearest;
    }

    /// <summary>The nearest centre of each point.</summary>
    public static int[] Assign(float[] points, float[] centres, int width)
    {
        int count = centres.Length / width;
        // By axis, so that all centres are looked at at once.
        var turned = new float[centres.Length];
        for (int k = 0; k < count; k++)
            for (int i = 0; i < width; i++) turned[i * count + k] = centres[k * width + i];
        float[] away = new float[count], squares = new float[count];
        var nearest = new int[points.Length / width];
        for (int p = 0; p < nearest.Length; p++)
        {
            Array.Clear(squares);
            for (int i = 0; i < width; i++)
            {
                TensorPrimitives.Subtract(turned.AsSpan(i * count, count), points[p * width + i], away);
                TensorPrimitives.MultiplyAdd(away, away, squares, squares);
            }
            nearest[p] = TensorPrimitives.IndexOfMin<float>(squares);
        }
        return nearest;
    }

    /// <summary>The sum of squared distances.</summary>
    public static double Error(float[] points, float[] centres, int[] nearest, int width)
    {
        double sum = 0;
        for (int i = 0; i < points.Length; i++)
        {
            double d = (double)points[i] - centres[nearest[i / width] * width + i % width];
            sum += d * d;
        }
        return sum;
    }

    /// <summary>Puts each centre without points beside the largest: that one moves a little to one side and this one to the
    /// other.</summary>
    /// <returns>Whether there were any.</returns>
    private static bool Split(int[] nearest, float[] centres, int width, ref Rng rng)
    {
        var sizes = new int[centres.Length / width];
        foreach (int k in nearest) sizes[k]++;
        bool any = false;
        for (int k = 0; k < sizes.Length; k++)
        {
            if (sizes[k] > 0) continue;
            int most = Array.IndexOf(sizes, sizes.Max());
            for (int i = 0; i < width; i++)
            {
                float e = Apart * rng.NextNormal();
                (centres[k * width + i], centres[most * width + i]) = (centres[most * width + i] + e,
                    centres[most * width + i] - e);
            }
            sizes[k] = sizes[most] / 2;
            sizes[most] -= sizes[k];
            any = true;
        }
        return any;
    }
}
