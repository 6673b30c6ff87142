using Espalier.Compression;
using Espalier.Tensors;
using static Espalier.Tests.Compression.Calibration.RecoveryGolden;

namespace Espalier.Tests.Compression.Calibration;

/// <summary>Queries and keys of a head that loses dimensions.</summary>
public sealed unsafe class QueryKeyTests
{
    private const int Images = 4, Rows = 10, Width = 8;

    private readonly RecoveryGolden golden = new("queries");

    [Theory]
    [InlineData(QueryKeyFit.Exact, "exact", 2)]
    [InlineData(QueryKeyFit.Pooled, "pooled", 1)]
    internal void Queries_that_stay_make_up_for_the_others(QueryKeyFit how, string name, int loss)
    {
        int[] keep = golden.Ints("keep");
        QueryKeyMaps maps = Solve(how, Images);
        double[] delta = golden[name];
        for (int i = 0; i < 5; i++)
        {
            for (int j = 0; j < 5; j++)
                Assert.Equal((i == j ? 1 : 0) + delta[j * 5 + i], maps.Query[i * Width + keep[j]], 1e-3 * Math.Max(1, Math.Abs(delta[j * 5 + i])));
            Assert.Equal(delta[25 + i], maps.Constant![i], 1e-3);
            Assert.Equal(1, maps.Key[i * Width + keep[i]]);
        }
        Assert.Equal(golden["losses"][loss], Loss(maps, Images), 1e-3 * golden["losses"][loss]);
        Assert.True(Loss(maps, Images) < golden["losses"][0]);
    }

    [Fact]
    public void The_best_subspace_is_better_than_any_choice_of_dimensions()
    {
        double[] losses = golden["losses"];
        Assert.Equal(losses[3], Loss(Solve(QueryKeyFit.Projection, Images), Images), 1e-3 * losses[3]);
        Assert.True(losses[3] < losses[2]);
        // Of one image the error is what the singular values left out say.
        Assert.Equal(golden.Number("one"), golden.Number("tail"), 1e-4 * golden.Number("tail"));
        Assert.Equal(golden.Number("tail"), Loss(Solve(QueryKeyFit.Projection, 1), 1), 1e-3 * golden.Number("tail"));
    }

    [Fact]
    public void For_one_image_pooled_is_exact()
    {
        QueryKeyMaps exact = Solve(QueryKeyFit.Exact, 1), pooled = Solve(QueryKeyFit.Pooled, 1);
        Close(exact.Query, pooled.Query, 1e-3);
        Close(exact.Constant!, pooled.Constant!, 1e-3);
    }

    /// <summary>q_d = 2 q_k and k_d = 3 k_k: 7 q_k gives every score.</summary>
    [Theory]
    [InlineData(QueryKeyFit.Exact)]
    [InlineData(QueryKeyFit.Pooled)]
    internal void By_hand(QueryKeyFit how)
    {
        float[] q = [1, 2, 2, 4, 0, 0], k = [1, 3, 2, 6, -4, -12];
        var sums = new QueryKeySums(2, [0], how, hasBias: false);
        fixed (float* pq = q, pk = k) sums.Add(pq, 3, pk, 3, 2);
        QueryKeyMaps maps = sums.Solve();
        Close([7, 0], maps.Query, 1e-5);
        Close([1, 0], maps.Key);
        Assert.Null(maps.Constant);
    }

    [Fact]
    public void Roots_of_a_matrix()
    {
        // Eigenvalues 4 and 1.
        double[] a = [2.5, 1.5, 1.5, 2.5], root = SingularValues.Power(a, 2, 0.5);
        Close([1.5, 0.5, 0.5, 1.5], root, 1e-12);
        Close([0.75, -0.25, -0.25, 0.75], SingularValues.Power(a, 2, -0.5), 1e-12);
        var svd = new SingularValues([3, 0, 0, -2, 0, 0], 3, 2);
        Close([3, 2], svd.Values, 1e-12);
    }

    private QueryKeyMaps Solve(QueryKeyFit how, int images)
    {
        using Tensor q = golden.Tensor("q", Images * Rows, Width), k = golden.Tensor("k", Images * Rows, Width);
        var sums = new QueryKeySums(Width, golden.Ints("keep"), how, hasBias: true);
        for (int i = 0; i < images; i++) sums.Add(q.Data + i * Rows * Width, Rows, k.Data + i * Rows * Width, Rows, Width);
        return sums.Solve();
    }

    /// <summary>Squared error of the scores, but for what is the same for all keys.</summary>
    private double Loss(QueryKeyMaps maps, int images)
    {
        double[] q = golden["q"], k = golden["k"];
        int kept = golden.Ints("keep").Length;
        double loss = 0;
        for (int s = 0; s < images; s++)
        {
            for (int i = 0; i < Rows; i++)
            {
                double[] query = q[((s * Rows + i) * Width)..((s * Rows + i + 1) * Width)];
                double[] errors = [.. Enumerable.Range(0, Rows).Select(j =>
                {
                    double[] key = k[((s * Rows + j) * Width)..((s * Rows + j + 1) * Width)];
                    double was = query.Zip(key, (a, b) => a * b).Sum(), now = 0;
                    for (int r = 0; r < kept; r++)
                        now += (Mixed(maps.Query, query, r) + (maps.Constant?[r] ?? 0)) * Mixed(maps.Key, key, r);
                    return was - now;
                })];
                double mean = errors.Average();
                loss += errors.Sum(e => (e - mean) * (e - mean));
            }
        }
        return loss;
    }

    private static double Mixed(double[] map, double[] x, int row) => Enumerable.Range(0, Width).Sum(j => map[row * Width + j] * x[j]);
}
