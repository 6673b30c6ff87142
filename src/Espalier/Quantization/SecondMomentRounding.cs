using Espalier.Compression;
using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>
/// Rounds each weight so that the layer's results change least, not the weight: the error of a row is e G eᵀ with G = E[x xᵀ] of
/// what the layer reads. Columns in order of decreasing G_ii; what rounding one column costs, the columns that are left make up for
/// (GPTQ, Frantar et al., arXiv 2210.17323). Then codes are moved by one wherever that lowers the error still.
/// </summary>
internal static class SecondMomentRounding
{
    /// <summary>Added to the diagonal, as a share of its mean.</summary>
    private const double Damping = 0.01;

    /// <summary>Widest rows that are done: their moments take the square of it.</summary>
    private const int MostColumns = 4608;

    /// <summary>Rounds the weights of layers without groups, in place: to numbers that codes stand for.</summary>
    /// <returns>How many.</returns>
    public static int Apply(Graph graph, IReadOnlyList<QuantisedLayer> layers, IEnumerable<Tensor> images)
    {
        var sources = new Dictionary<MomentSource, List<QuantisedLayer>>();
        foreach (QuantisedLayer layer in layers)
        {
            MomentSource source = MomentSource.InputOf(layer.Node);
            int columns = source.Channels * source.Rows.Taps;
            if (columns != layer.Weight.Shape.Length / layer.Weight.Shape[0] || columns > MostColumns) continue;
            if (!sources.TryGetValue(source, out List<QuantisedLayer>? same)) sources.Add(source, same = []);
            same.Add(layer);
        }
        int count = 0;
        foreach (var (source, moments) in ActivationMoments.Of(graph, [.. sources.Keys], images))
        {
            double[] second = moments.SecondMoment();
            foreach (QuantisedLayer layer in sources[source])
            {
                Round(layer, second, moments.Width);
                count++;
            }
        }
        return count;
    }

    private static void Round(QuantisedLayer layer, double[] second, int n)
    {
        QuantisedValue codes = layer.Codes;
        Tensor weight = layer.Weight.Tensor;
        var rounding = new SecondMoments(second, n, Damping);
        for (int o = 0; o < weight.Shape[0]; o++)
        {
            float scale = codes.Scale.Span[codes.Scale.Length == 1 ? 0 : o];
            Span<float> row = weight.Span.Slice(o * n, n);
            double[] w = [.. row.ToArray().Select(v => (double)v / scale)];
            double[] q = rounding.Round(w, codes.Format.Low, codes.Format.High);
            rounding.Flip(w, q, codes.Format.Low, codes.Format.High);
            for (int i = 0; i < n; i++) row[i] = (float)q[i] * scale;
        }
    }
}

/// <summary>Rounding of rows against one matrix of second moments; rows and codes are in units of the scale.</summary>
internal sealed class SecondMoments
{
    private readonly double[] g, upper;
    private readonly int[] order;
    private readonly int n;

    /// <param name="g">[n, n].</param>
    /// <param name="damping">Added to the diagonal, as a share of its mean.</param>
    public SecondMoments(double[] g, int n, double damping)
    {
        (this.g, this.n) = (g, n);
        order = [.. Enumerable.Range(0, n).OrderByDescending(i => g[i * n + i])];
        double mean = Enumerable.Range(0, n).Average(i => g[i * n + i]), ridge = damping * mean;
        if (ridge == 0 && mean == 0) ridge = 1;
        var sorted = new double[(long)n * n];
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) sorted[i * n + j] = g[order[i] * n + order[j]] + (i == j ? ridge : 0);
        upper = UpperOfInverse(sorted, n);
    }

    /// <summary>The codes of a row, column after column.</summary>
    public double[] Round(double[] row, int low, int high)
    {
        double[] w = [.. order.Select(i => row[i])];
        var q = new double[n];
        for (int i = 0; i < n; i++)
        {
            double code = Math.Clamp(Math.Round(w[i]), low, high), error = (w[i] - code) / upper[i * n + i];
            q[order[i]] = code;
            ReadOnlySpan<double> line = upper.AsSpan(i * n + i, n - i);
            System.Numerics.Tensors.TensorPrimitives.MultiplyAdd(line, -error, w.AsSpan(i), w.AsSpan(i));
        }
        return q;
    }

    /// <summary>Moves codes by one, each time the one that lowers the error most, until none does.</summary>
    /// <returns>The error that is left, (w - q) G (w - q)ᵀ.</returns>
    public double Flip(double[] row, double[] q, int low, int high)
    {
        var e = new double[n];
        for (int i = 0; i < n; i++) e[i] = q[i] - row[i];
        double[] ge = new double[n];
        for (int i = 0; i < n; i++) ge[i] = System.Numerics.Tensors.TensorPrimitives.Dot<double>(g.AsSpan(i * n, n), e);
        for (int moves = 0; moves < 4 * n; moves++)
        {
            (int at, double d, double gain) = (-1, 0, -1e-12);
            for (int i = 0; i < n; i++)
            {
                // Only to the other neighbour of the weight.
                double step = e[i] > 0 ? -1 : 1;
                if (q[i] + step < low || q[i] + step > high) continue;
                double change = 2 * step * ge[i] + g[i * n + i];
                if (change < gain) (at, d, gain) = (i, step, change);
            }
            if (at < 0) break;
            q[at] += d;
            e[at] += d;
            for (int i = 0; i < n; i++) ge[i] += d * g[at * n + i];
        }
        return System.Numerics.Tensors.TensorPrimitives.Dot<double>(e, ge);
    }

    /// <summary>U of G⁻¹ = Uᵀ U, upper triangular.</summary>
    private static double[] UpperOfInverse(double[] g, int n)
    {
        // Of the matrix with rows and columns in reverse, G' = L Lᵀ, the inverse of L in reverse is U.
        var turned = new double[g.Length];
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) turned[i * n + j] = g[(n - 1 - i) * n + (n - 1 - j)];
        Cholesky factor = Cholesky.Of(turned,
            n) ?? throw new EspalierException("the moments of activations have no inverse; give more images");
        double[] inverse = factor.InverseOfLower();
        var upper = new double[g.Length];
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++) upper[(n - 1 - i) * n + (n - 1 - j)] = inverse[i * n + j];
        return upper;
    }
}
