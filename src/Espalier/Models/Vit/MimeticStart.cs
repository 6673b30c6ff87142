using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>How a new vision transformer's weights begin.</summary>
public enum VitStart
{
    /// <summary>As Google's: Xavier weights, position embeddings of deviation 0.02.</summary>
    Published,

    /// <summary>
    /// Attention and positions as trained transformers have them (Trockman and Kolter, arXiv 2305.09828): tokens look at those that are
    /// near and like them from the first step on. Learns more from few images and short runs.
    /// </summary>
    Mimetic,
}

/// <summary>
/// Mimetic initialisation. In trained transformers the products of queries and keys are close to a multiple of the identity, and
/// those of values and output to a negative one. So a new one begins with Wqᵀ Wk ≈ 0.7 Z + 0.7 I for each head and
/// Wo Wv ≈ 0.4 Z - 0.4 I, where Z is random with variance 1/D, split by their singular values; positions are sines and cosines.
/// </summary>
internal static class MimeticStart
{
    private const double Alike = 0.7, Opposite = -0.4, Period = 10_000;

    // Half of the paper's: patches of small images begin weaker than those of large ones, and should still be seen.
    private const float Positions = 0.5f;

    /// <exception cref="EspalierException">The width does not divide by 4, into sines and cosines of two axes.</exception>
    public static void Apply(VisionTransformer net, VitConfig config, ulong seed)
    {
        int d = config.HiddenSize, heads = config.NumHeads, size = d / heads;
        if (d % 4 != 0) throw new EspalierException($"mimetic initialisation is for widths that divide by 4, not {d}");
        if (Init.IsShapesOnly) return;
        var rng = new Rng(seed, key0: 2);
        var weights = net.NamedParameters().ToDictionary(p => p.Name, p => p.Value);
        for (int block = 0; block < config.NumLayers; block++)
        {
            string prefix = $"{VisionTransformer.BlockName(block)}.attn.";
            Span<float> query = weights[prefix + "query.weight"].Span, key = weights[prefix + "key.weight"].Span;
            for (int h = 0; h < heads; h++)
                Split(Random(d, Alike, ref rng), d, size, query.Slice(h * size * d, size * d), key.Slice(h * size * d, size * d));
            // What leaves the heads is a column of the output's weight for each value row.
            var columns = new float[d * d];
            Split(Random(d, Opposite, ref rng), d, d, columns, weights[prefix + "value.weight"].Span);
            Span<float> output = weights[prefix + "out.weight"].Span;
            for (int i = 0; i < output.Length; i++) output[i] = columns[(i % d * d) + (i / d)];
        }
        Tensor positions = weights.Single(w => w.Key.EndsWith("position_embeddings", StringComparison.Ordinal)).Value;
        int side = config.Grid, first = positions.Shape[1] - (side * side);
        if (first >= 0) Waves(positions.Span[(first * d)..], side, d);
    }

    /// <summary>|s| Z + s I, [D, D].</summary>
    private static double[] Random(int d, double s, ref Rng rng)
    {
        var m = new double[d * d];
        double deviation = Math.Abs(s) / Math.Sqrt(d);
        for (int i = 0; i < m.Length; i++) m[i] = (deviation * rng.NextNormal()) + (i % (d + 1) == 0 ? s : 0);
        return m;
    }

    /// <summary>M ≈ Aᵀ B with the <paramref name="rank"/> largest singular values, half of each (their root) on either side.</summary>
    /// <param name="a">[rank, D].</param>
    /// <param name="b">[rank, D].</param>
    private static void Split(double[] m, int d, int rank, Span<float> a, Span<float> b)
    {
        var square = new double[d * d];                     // Mᵀ M = V s² Vᵀ
        for (int row = 0; row < d; row++)
        {
            ReadOnlySpan<double> x = m.AsSpan(row * d, d);
            for (int i = 0; i < d; i++)
                System.Numerics.Tensors.TensorPrimitives.MultiplyAdd(x, x[i], square.AsSpan(i * d, d), square.AsSpan(i * d, d));
        }
        var eigen = new SymmetricEigen(square, d);
        for (int k = 0; k < rank; k++)
        {
            ReadOnlySpan<double> v = eigen.VectorOf(k);
            double root = Math.Pow(Math.Max(eigen.Values[k], 1e-12), 0.25);
            for (int i = 0; i < d; i++)
            {
                a[(k * d) + i] = (float)(System.Numerics.Tensors.TensorPrimitives.Dot(m.AsSpan(i * d, d), v) / root);      // M v = s u
                b[(k * d) + i] = (float)(root * v[i]);
            }
        }
    }

    /// <summary>[side side, D]: sines, then cosines of x, then the same of y.</summary>
    private static void Waves(Span<float> positions, int side, int d)
    {
        int quarter = d / 4;
        for (int i = 0; i < side * side; i++)
            for (int k = 0; k < quarter; k++)
            {
                double frequency = Math.Pow(Period, -(double)k / quarter);
                (double sinX, double cosX) = Math.SinCos(i % side * frequency);
                (double sinY, double cosY) = Math.SinCos(i / side * frequency);
                Span<float> row = positions.Slice(i * d, d);
                (row[k], row[quarter + k]) = (Positions * (float)sinX, Positions * (float)cosX);
                (row[(2 * quarter) + k], row[(3 * quarter) + k]) = (Positions * (float)sinY, Positions * (float)cosY);
            }
    }
}
