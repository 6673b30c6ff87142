using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Compression;

/// <summary>How r queries and keys of a head are made of all d.</summary>
/// <param name="Query">[r, d].</param>
/// <param name="Key">[r, d].</param>
/// <param name="Constant">[r] added to the queries; null for nothing.</param>
internal sealed record QueryKeyMaps(double[] Query, double[] Key, double[]? Constant);

/// <summary>
/// Moments of the queries and keys of one head, image by image. Softmax ignores what is the same for all keys, so keys are centred in
/// each image.
/// <code>
/// projection  Q^(1/2) K^(1/2) = U S Vᵀ      q' = S_r^(1/2) U_rᵀ Q^(-1/2) q      k' = S_r^(1/2) V_rᵀ K^(-1/2) k
/// exact       (sum_s K^s_kk kron Q^s) vec(D) = vec(sum_s Q^s_.d K^s_dk)         q' = q_k + Dᵀ (q_k, 1)
/// pooled      D = Q⁻¹ Q_.d K_dk K_kk⁻¹
/// </code>
/// k is what stays, d what goes. The first keeps the best subspace of the products; for one image its error is the sum of the squares
/// of the singular values left out. The others keep the dimensions themselves and let their queries make up for the rest (CORP, arXiv
/// 2602.05243).
/// </summary>
internal sealed unsafe class QueryKeySums
{
    private readonly int width, kept, gone, augmented;
    private readonly int[] order;
    private readonly QueryKeyFit how;
    private readonly bool hasBias;
    private readonly double[] queries, keys, system, right;

    /// <param name="width">Dimensions d of the head.</param>
    /// <param name="stay">Those that stay, rising.</param>
    /// <param name="hasBias">Whether a constant can be added to queries.</param>
    public QueryKeySums(int width, int[] stay, QueryKeyFit how, bool hasBias)
    {
        (this.width, this.how, this.hasBias) = (width, how, hasBias);
        (kept, gone, augmented) = (stay.Length, width - stay.Length, stay.Length + (hasBias ? 1 : 0));
        order = [.. stay, .. Enumerable.Range(0, width).Except(stay)];
        queries = new double[(width + 1) * (width + 1)];
        keys = new double[width * width];
        int unknowns = how == QueryKeyFit.Exact ? augmented * kept : 0;
        (system, right) = (new double[unknowns * unknowns], new double[unknowns]);
    }

    /// <param name="q">[rows, ld] the head's columns first.</param>
    public void Add(float* q, int queryRows, float* k, int keyRows, int ld)
    {
        if (queryRows == 0 || keyRows == 0) return;
        double[] own = Products(q, queryRows, ld, centre: false), other = Products(k, keyRows, ld, centre: true);
        for (int i = 0; i < queries.Length; i++) queries[i] += own[i];
        for (int i = 0; i < width; i++)
            for (int j = 0; j < width; j++) keys[i * width + j] += other[i * (width + 1) + j];
        if (how == QueryKeyFit.Exact) AddSystem(own, other);
    }

    public QueryKeyMaps Solve()
    {
        if (how == QueryKeyFit.Projection) return Projection();
        double[] delta = how == QueryKeyFit.Exact ? Exact() : Pooled();
        var query = new double[kept * width];
        var key = new double[kept * width];
        double[]? constant = hasBias ? new double[kept] : null;
        for (int i = 0; i < kept; i++)
        {
            query[i * width + order[i]] = key[i * width + order[i]] = 1;
            for (int j = 0; j < kept; j++) query[i * width + order[j]] += delta[j * kept + i];
            if (constant is not null) constant[i] = delta[kept * kept + i];
        }
        return new QueryKeyMaps(query, key, constant);
    }

    private QueryKeyMaps Projection()
    {
        var own = new double[width * width];
        var other = new double[width * width];
        for (int i = 0; i < width; i++)
            for (int j = 0; j < width; j++) (own[order[i] * width + order[j]], other[order[i] * width + order[j]]) = (queries[i * (width + 1) + j], keys[i * width + j]);
        double[] rootQ = SingularValues.Power(own, width, 0.5), rootK = SingularValues.Power(other, width, 0.5);
        var joint = new SingularValues(Product(rootQ, rootK), width, width);
        return new QueryKeyMaps(Half(joint.Left, SingularValues.Power(own, width, -0.5)),
            Half(joint.Right, SingularValues.Power(other, width, -0.5)), null);

        double[] Half(double[][] vectors, double[] root)
        {
            var map = new double[kept * width];
            for (int i = 0; i < kept; i++)
                for (int x = 0; x < width; x++)
                    for (int j = 0; j < width; j++) map[i * width + j] += Math.Sqrt(joint.Values[i]) * vectors[i][x] * root[x * width + j];
            return map;
        }
    }

    /// <summary>[augmented, kept].</summary>
    private double[] Exact()
    {
        int n = right.Length;
        Solved(system, n, right);
        var delta = new double[augmented * kept];
        for (int b = 0; b < kept; b++)
            for (int a = 0; a < augmented; a++) delta[a * kept + b] = right[b * augmented + a];
        return delta;
    }

    private double[] Pooled()
    {
        var q = new double[augmented * augmented];
        var side = new double[gone * augmented];
        for (int i = 0; i < augmented; i++)
        {
            for (int j = 0; j < augmented; j++) q[i * augmented + j] = queries[Place(i) * (width + 1) + Place(j)];
            for (int d = 0; d < gone; d++) side[d * augmented + i] = queries[Place(i) * (width + 1) + kept + d];
        }
        Solved(q, augmented, side);
        var k = new double[kept * kept];
        var other = new double[gone * kept];
        for (int j = 0; j < kept; j++)
        {
            for (int i = 0; i < kept; i++) k[i * kept + j] = keys[i * width + j];
            for (int d = 0; d < gone; d++) other[d * kept + j] = keys[(kept + d) * width + j];
        }
        Solved(k, kept, other);
        var delta = new double[augmented * kept];
        for (int a = 0; a < augmented; a++)
            for (int b = 0; b < kept; b++)
                for (int d = 0; d < gone; d++) delta[a * kept + b] += side[d * augmented + a] * other[d * kept + b];
        return delta;
    }

    private void AddSystem(double[] own, double[] other)
    {
        int n = right.Length;
        for (int b = 0; b < kept; b++)
        {
            for (int b2 = 0; b2 < kept; b2++)
            {
                double share = other[b * (width + 1) + b2];
                for (int a = 0; a < augmented; a++)
                {
                    Span<double> row = system.AsSpan((b * augmented + a) * n + b2 * augmented, augmented);
                    for (int a2 = 0; a2 < augmented; a2++) row[a2] += share * own[Place(a) * (width + 1) + Place(a2)];
                }
            }
            for (int a = 0; a < augmented; a++)
                for (int d = 0; d < gone; d++)
                    right[b * augmented + a] += own[Place(a) * (width + 1) + kept + d] * other[(kept + d) * (width + 1) + b];
        }
    }

    /// <summary>Where the 1 behind what stays is among the products: behind everything.</summary>
    private int Place(int i) => i < kept ? i : width;

    /// <summary>Each row b of <paramref name="rows"/> becomes b A⁻¹; a nearly singular A gets a ridge.</summary>
    private static void Solved(double[] a, int n, double[] rows)
    {
        double trace = 0;
        for (int i = 0; i < n; i++) trace += a[i * n + i];
        if (!double.IsFinite(trace)) throw new EspalierException("queries or keys of the calibration images are not finite");
        Cholesky? factor;
        for (double ridge = 1e-12 * trace / n; (factor = Cholesky.Of(a, n, ridge)) is null;) ridge = Math.Max(ridge * 10, 1e-300);
        factor.SolveRows(rows);
    }

    private double[] Product(double[] a, double[] b)
    {
        var product = new double[width * width];
        for (int i = 0; i < width; i++)
            for (int x = 0; x < width; x++)
                for (int j = 0; j < width; j++) product[i * width + j] += a[i * width + x] * b[x * width + j];
        return product;
    }

    /// <summary>[width + 1, width + 1] the sum of x xᵀ over an image, what stays first, then what goes, then a 1.</summary>
    private double[] Products(float* x, int rows, int ld, bool centre)
    {
        int n = width + 1;
        using Tensor sorted = Tensor.Unscoped(new Shape(rows, n)), product = Tensor.Unscoped(new Shape(n, n));
        var mean = new double[width];
        for (int r = 0; r < rows && centre; r++)
            for (int i = 0; i < width; i++) mean[i] += x[(long)r * ld + order[i]] / (double)rows;
        for (int r = 0; r < rows; r++)
        {
            for (int i = 0; i < width; i++) sorted.Data[(long)r * n + i] = (float)(x[(long)r * ld + order[i]] - mean[i]);
            sorted.Data[(long)r * n + width] = 1;
        }
        Gemm.Run(true, false, n, n, rows, sorted.Data, n, sorted.Data, n, product.Data, n, default);
        var sums = new double[n * n];
        for (int i = 0; i < sums.Length; i++) sums[i] = product.Data[i];
        return sums;
    }
}
