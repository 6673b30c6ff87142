using Espalier.Compression;
using Espalier.Tensors;
using static Espalier.Tests.Compression.Calibration.RecoveryGolden;

namespace Espalier.Tests.Compression.Calibration;

public sealed class MomentsTests
{
    [Fact]
    public void Merging_is_as_if_all_rows_had_come_at_once()
    {
        Moments a = Of([1, 3]), b = Of([5]);
        Moments all = Moments.Merged(a, b);
        Assert.Equal((3L, 3.0), (all.Count, all.Mean[0]));
        Assert.Equal(8.0 / 3, all.Covariance()[0], 12);
        a.Add(Rows([5], 1));
        Assert.Equal(8.0 / 3, a.Covariance()[0], 12);
        Assert.Equal(8.0 / 3 + 9, a.SecondMoment()[0], 12);
    }

    [Fact]
    public void A_variance_far_from_zero_survives_single_precision()
    {
        var rng = new Rng(3);
        double[] values = new double[20_000];
        for (int i = 0; i < values.Length; i++) values[i] = (float)(1000 + rng.NextNormal());
        double mean = values.Average(), variance = values.Average(v => (v - mean) * (v - mean));
        Moments moments = Of(values);
        Assert.Equal(mean, moments.Mean[0], 1e-6);
        Assert.Equal(variance, moments.Covariance()[0], 1e-5);
    }

    /// <summary>[1, 2, 1, 3] is two pixels of three channels to a linear layer, and two channels of three pixels to a convolution.</summary>
    [Fact]
    public void Four_axes_are_read_as_the_layer_reads_them()
    {
        using var scope = new Scope();
        Tensor x = Tensor.From(new Shape(1, 2, 1, 3), [1, 2, 3, 4, 5, 6]), linear = Tensor.Zeros(new Shape(2, 3)), kernel = Tensor.Zeros(new Shape(4, 2, 1, 1));
        ActivationRows rows = ActivationRows.Of(new LinearOp(x, linear, null)), maps = ActivationRows.Of(new Conv2dOp(x, kernel, null));
        Assert.Equal((3, 2L), (rows.ChannelsOf(x.Shape), rows.Count(x.Shape)));
        Assert.Equal((2, 3L), (maps.ChannelsOf(x.Shape), maps.Count(x.Shape)));
        Assert.Equal([1f, 3, 4, 6], rows.Take(x, [0, 2]).ToArray());
        Assert.Equal([4f, 1, 5, 2, 6, 3], maps.Take(x, [1, 0]).ToArray());
    }

    [Fact]
    public void Of_rows_and_targets_as_numpy_has_them()
    {
        var golden = new RecoveryGolden("sequential");
        using Tensor x = golden.Tensor("changed", 150, 7), y = golden.Tensor("y", 150, 3);
        var moments = new Moments(7, 3);
        moments.Add(x, y);
        double[] xs = golden["changed"], ys = golden["y"];
        double mx = Mean(xs, 7, 2), my = Mean(ys, 3, 1), cross = 0;
        for (int r = 0; r < 150; r++) cross += (xs[r * 7 + 2] - mx) * (ys[r * 3 + 1] - my) / 150;
        Assert.Equal(mx, moments.Mean[2], 1e-6);
        Assert.Equal(my, moments.TargetMean[1], 1e-6);
        Assert.Equal(cross, moments.TargetCovariance()[1 * 7 + 2], 1e-5);
        Assert.Equal(cross + mx * my, moments.TargetSecondMoment()[1 * 7 + 2], 1e-5);
        Assert.Equal(Enumerable.Range(0, 150).Average(r => Math.Pow(ys[r * 3 + 1] - my, 2)), moments.TargetVariance()[1], 1e-5);
        Assert.Throws<ArgumentException>(() => moments.Add(y, x));
    }

    /// <summary>Every activation of a graph in one pass; in parts where they would take too much memory.</summary>
    [Theory]
    [InlineData(1L << 30, 1)]
    [InlineData(1, 3)]
    public void Of_the_values_of_a_graph(long memory, int passes)
    {
        var golden = new RecoveryGolden("network");
        using Tensor images = golden.Tensor("images", 24, 2, 5, 5), w = golden.Tensor("w1", 6, 2, 3, 3), b = golden.Tensor("b1", 6);
        using var scope = new Scope();
        Graph graph = Graph.Trace(x => F.Relu(F.Conv2d(x, w, b, padding: 1)), new Shape(1, 2, 5, 5), [("w", w), ("b", b)]);
        int runs = 0;
        IEnumerable<Tensor> Batches()
        {
            runs++;
            yield return F.Slice(images, 0, 0, 10);
            yield return F.Slice(images, 0, 10, 14);
        }
        GraphNode conv = graph.Nodes[0];
        MomentSource[] sources = [MomentSource.InputOf(conv), MomentSource.OutputOf(conv), MomentSource.OutputOf(graph.Outputs[0].Producer!)];
        Moments[] found = [.. ActivationMoments.Of(graph, sources, Batches(), memory).Select(m => m.Moments)];
        Assert.Equal(passes, runs);
        Assert.All(found, m => Assert.Equal(24 * 25, m.Count));
        Assert.Equal([18, 6, 6], found.Select(m => m.Width));
        // What a convolution gives has the mean and covariance that its windows and weights say.
        double[] c = found[0].Covariance();
        for (int o = 0; o < 6; o++)
        {
            double mean = b.Span[o], variance = 0;
            for (int i = 0; i < 18; i++)
            {
                mean += w.Span[o * 18 + i] * found[0].Mean[i];
                for (int j = 0; j < 18; j++) variance += w.Span[o * 18 + i] * c[i * 18 + j] * w.Span[o * 18 + j];
            }
            Assert.Equal(mean, found[1].Mean[o], 1e-4);
            Assert.Equal(variance, found[1].Covariance()[o * 6 + o], 1e-3);
            Assert.True(found[2].Mean[o] >= 0);
        }
        Assert.Throws<EspalierException>(() => ActivationMoments.Of(graph, sources, []).Count());
    }

    [Fact]
    public void Token_rows_are_rows()
    {
        using var scope = new Scope();
        Graph graph = Graph.Trace(x => F.Relu(F.KeepRows(F.PatchesToRows(x, 2), F.Slice(F.PatchesToRows(x, 2), 1, 0, 1), KeepRule.AtLeast(0))),
            new Shape(1, 1, 4, 4), []);
        Tensor images = Tensor.Zeros(new Shape(2, 1, 4, 4));
        images.Span[0] = 3;
        images.Span[2] = -1;
        images.Span[16] = -2;
        images.Span[16 + 10] = 4;
        Moments moments = ActivationMoments.Of(graph, [MomentSource.OutputOf(graph.Outputs[0].Producer!)], [images]).Single().Moments;
        // Of image 0 three of four patches are kept; of image 1 all, since the first stays in any case.
        Assert.Equal((7L, 4), (moments.Count, moments.Width));
        Assert.Equal(1, moments.Mean[0], 6);
    }

    private static double Mean(double[] rows, int width, int column) =>
        Enumerable.Range(0, rows.Length / width).Average(r => rows[r * width + column]);

    private static Moments Of(double[] values)
    {
        using Tensor rows = Rows(values, 1);
        var moments = new Moments(1);
        moments.Add(rows);
        return moments;
    }
}
