using Espalier.Quantization;
using Espalier.Tensors;

namespace Espalier.Tests.Quantization;

/// <summary>The steps of post-training quantisation, against numbers worked out by hand.</summary>
public class QuantisedStepsTests
{
    [Fact]
    public void ABatchNormGoesIntoTheConvolution()
    {
        Tensor weight = Tensor.From(new Shape(1, 1, 1, 1), [3]), bias = Tensor.From(new Shape(1), [1]);
        BatchNormFolding.Fold(weight, bias, [[2], [0.5f], [3], [3.5f]], 0.5f);
        Assert.Equal(3, weight.Item(), 1e-6f);
        Assert.Equal(-1.5f, bias.Item(), 1e-6f);
    }

    [Fact]
    public void FoldedNetworksGiveTheSame()
    {
        using Model model = SmallNetworks.Resnet();
        using var scope = new Scope();
        Tensor images = SmallNetworks.Images(3, 16);
        float[] expected = model.Graph.Run(images).ToArray();
        Assert.True(BatchNormFolding.Apply(model.Graph) > 10);
        Assert.DoesNotContain(model.Graph.Nodes, n => n.Op is BatchNorm2dOp);
        float[] actual = model.Graph.Run(images).ToArray();
        for (int i = 0; i < actual.Length; i++) Assert.Equal(expected[i], actual[i], 1e-4f * expected.Max(MathF.Abs));
    }

    [Fact]
    public void ChannelsBetweenTwoLayersGetOneRange()
    {
        Tensor first = Tensor.From(new Shape(2, 2), [8, -1, 0.25f, -0.5f]), bias = Tensor.From(new Shape(2), [4, 1]);
        Tensor second = Tensor.From(new Shape(2, 2), [0.5f, 1, -0.25f, -2]);
        Tensor x = Tensor.From(new Shape(3, 2), [1, 2, -0.5f, 0.25f, 3, -7]);
        float[] before = Run();
        Assert.Equal(3, Equalisation.Equalise(first, bias, second), 1e-6);
        Assert.Equal([2, -0.25f, 0.5f, -1], first.ToArray());
        Assert.Equal([1, 2], bias.ToArray());
        Assert.Equal([2, 0.5f, -1, -1], second.ToArray());
        // Factors of 4 and 1/2 round nothing.
        Assert.Equal(before, Run());

        float[] Run() => F.Linear(F.Relu(F.Linear(x, first, bias)), second).ToArray();
    }

    [Fact]
    public void EqualisedNetworksGiveTheSame()
    {
        using Model model = Model.Create("vgg11_bn", classes: 10, imageSize: 32, width: 0.1);
        BatchNormFolding.Apply(model.Graph);
        using var scope = new Scope();
        Tensor images = SmallNetworks.Images(2, 32);
        float[] expected = model.Graph.Run(images).ToArray();
        Assert.True(Equalisation.Apply(model.Graph) >= 2);
        float[] actual = model.Graph.Run(images).ToArray();
        for (int i = 0; i < actual.Length; i++) Assert.Equal(expected[i], actual[i], 1e-4f * expected.Max(MathF.Abs));
    }

    [Fact]
    public void TheMeanThatRoundingAddsIsTakenOut()
    {
        Tensor weight = Tensor.From(new Shape(1, 2), [0, 0.2f]), rounded = Tensor.From(new Shape(1, 2), [0.1f, 0]);
        Assert.Equal([-0.3f], BiasCorrection.Shift(weight, rounded, [1, 2]).Select(v => MathF.Round(v, 5)));
    }

    [Fact]
    public void RoundingBySecondMoments()
    {
        double[] g = [1, 0.9, 0.9, 1], w = [0.6, 0.6];
        var rounding = new SecondMoments(g, 2, 0);
        double[] q = rounding.Round(w, -7, 7);
        Assert.Equal([1, 0], q);
        Assert.Equal(0.088, rounding.Flip(w, q, -7, 7), 1e-9);
        double[] nearest = [1, 1];
        // Where codes cannot move, the error of the nearest ones.
        Assert.Equal(0.608, rounding.Flip(w, nearest, 1, 1), 1e-9);
        Assert.Equal(0.088, rounding.Flip(w, nearest, -7, 7), 1e-9);
    }

    /// <summary>The rule by the factor is that by inverses of what is left: w -= (w_i - q_i) / H⁻¹_ii · H⁻¹_i.</summary>
    [Fact]
    public void TheFactorGivesWhatInversesGive()
    {
        const int N = 8;
        var rng = new Rng(5);
        double[] a = [.. Enumerable.Range(0, N * 3 * N).Select(_ => (double)rng.NextNormal())], g = new double[N * N];
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++)
                for (int k = 0; k < 3 * N; k++) g[i * N + j] += a[i * 3 * N + k] * a[j * 3 * N + k];
        int[] order = [.. Enumerable.Range(0, N).OrderByDescending(i => g[i * N + i])];
        var rounding = new SecondMoments(g, N, 0);
        for (int row = 0; row < 40; row++)
        {
            double[] w = [.. Enumerable.Range(0, N).Select(_ => 3.0 * rng.NextNormal())], left = [.. w], q = new double[N];
            for (int step = 0; step < N; step++)
            {
                int[] rest = order[step..];
                double[] inverse = Inverse(g, rest);
                int at = order[step];
                q[at] = Math.Clamp(Math.Round(left[at]), -7, 7);
                for (int k = 0; k < rest.Length; k++) left[rest[k]] -= (left[at] - q[at]) / inverse[0] * inverse[k] * (k == 0
                    ? 0 : 1);
            }
            Assert.Equal(q, rounding.Round(w, -7, 7));
        }
    }

    /// <summary>Ranges with scales 0.1 and 0.4 and zero points 10 and 30 share 0.25 and 20.</summary>
    [Fact]
    public void ALayerNormWithARangeForEachChannel()
    {
        Tensor gamma = Tensor.From(new Shape(2), [1, 1]), beta = Tensor.From(new Shape(2), [0, 0]);
        var (scale, zero, factors, shifts) = NormRanges.Shared(([-1, -12], [24.5f, 90]), CodeFormat.Activation(8));
        // A channel that is always 0 changes nothing for the others.
        var beside = NormRanges.Shared(([-1, 0, -12], [24.5f, 0, 90]), CodeFormat.Activation(8));
        Assert.Equal((scale, zero), (beside.Scale, beside.Zero));
        Assert.Equal([factors[0], 1, factors[1]], beside.Factors);
        Assert.Equal([shifts[0], 0, shifts[1]], beside.Shifts);
        Assert.Equal(0.25f, scale, 1e-6f);
        Assert.Equal(20, zero);
        NormRanges.OfNorm(gamma, beta, factors, shifts);
        Assert.All(gamma.ToArray().Zip([2.5f, 0.625f]), p => Assert.Equal(p.Second, p.First, 1e-5f));
        Assert.All(beta.ToArray().Zip([-2.5f, 2.5f]), p => Assert.Equal(p.Second, p.First, 1e-5f));
    }

    /// <summary>Scales 0.02 and 0.005: a bias of 0.3 is the whole number 3000, and what lies beside it becomes that.</summary>
    [Fact]
    public void ABiasIsAWholeNumberOfItsSumsScale()
    {
        Tensor weight = Tensor.Parameter(new Shape(2, 1)), bias = Tensor.Parameter(new Shape(2));
        (bias.Span[0], bias.Span[1]) = (0.30004f, -0.15006f);
        Graph graph = Graph.Trace(x => F.Linear(x, weight, bias), new Shape(1, 1), [("w", weight), ("b", bias)]);
        QuantisedValue.Insert(graph, graph.Inputs[0], CodeFormat.Activation(8)).Scale.Fill(0.02f);
        QuantisedValue.Insert(graph, graph["w"], CodeFormat.Weight(8)).Scale.Fill(0.005f);
        BiasCorrection.Round(QuantisedLayer.Of(graph));
        Assert.Equal(3000 * 1e-4f, bias.Span[0], 1e-7f);
        Assert.Equal(-1501 * 1e-4f, bias.Span[1], 1e-7f);
    }

    /// <summary>Codes of one scale are those that each channel's own range gives; what reads them gives what it gave.</summary>
    [Fact]
    public void OneScaleGivesTheCodesOfEachChannel()
    {
        const int Rows = 50, Width = 6, Outputs = 4;
        var rng = new Rng(3);
        float[] Draw(int count) => [.. Enumerable.Range(0, count).Select(_ => rng.NextNormal())];
        float[] plain = Draw(Rows * Width);
        Tensor gamma = Tensor.From(new Shape(Width), Draw(Width)), beta = Tensor.From(new Shape(Width), Draw(Width));
        Tensor weight = Tensor.From(new Shape(Outputs, Width), Draw(Outputs * Width));
        Tensor bias = Tensor.From(new Shape(Outputs), Draw(Outputs));
        float[] x = Norm(), y = Linear(x);
        float[] Least(Func<IEnumerable<float>, float> of) =>
            [.. Enumerable.Range(0, Width).Select(c => of(Enumerable.Range(0, Rows).Select(r => x[r * Width + c])))];
        (float[] Min, float[] Max) seen = (Least(v => v.Min()), Least(v => v.Max()));
        var (scale, zero, factors, shifts) = NormRanges.Shared(seen, CodeFormat.Activation(8));
        NormRanges.OfNorm(gamma, beta, factors, shifts);
        NormRanges.OfReader(weight, bias, factors, shifts);
        float[] moved = Norm();
        Assert.All(y.Zip(Linear(moved)), p => Assert.Equal(p.First, p.Second, 1e-4f));
        int same = 0;
        for (int i = 0; i < x.Length; i++)
        {
            var (s, z) = CodeFormat.Activation(8).Fit(seen.Min[i % Width], seen.Max[i % Width]);
            if (Code(x[i], s, z) == Code(moved[i], scale, zero)) same++;
        }
        // A float may be rounded to the other side where it lies half-way between two codes.
        Assert.InRange(same, x.Length - 1, x.Length);

        static double Code(float v, float s, int z) => Math.Clamp(Math.Round(v / (double)s) + z, 0, 255);

        float[] Norm() => [.. plain.Select((v, i) => v * gamma.Span[i % Width] + beta.Span[i % Width])];

        float[] Linear(float[] rows) => F.Linear(Tensor.From(new Shape(Rows, Width), rows), weight, bias).ToArray();
    }

    /// <summary>Channels of wider spread get larger scales, each the one of least error.</summary>
    [Fact]
    public void ChannelsOfPowersOfTwo()
    {
        const int Rows = 500;
        float[] spread = [0.2f, 0.3f, 0.5f, 1, 3, 8], x = new float[Rows * spread.Length];
        var rng = new Rng(2);
        for (int i = 0; i < x.Length; i++) x[i] = spread[i % spread.Length] * rng.NextNormal();
        float min = x.Min(), max = x.Max();
        var channels = new ChannelExponents(spread.Length, min, max, CodeFormat.Activation(8));
        channels.Add(x);
        int[] best = channels.Best();
        Assert.Equal([0, 0, 0, 1, 2, 3], best);
        var (whole, z) = CodeFormat.Activation(8).Fit(min, max);
        for (int c = 0; c < spread.Length; c++)
        {
            double[] errors = [.. Enumerable.Range(0, 4).Select(e => Enumerable.Range(0, Rows).Sum(r =>
            {
                double v = x[r * spread.Length + c], s = whole / 8 * Math.Pow(2, e);
                return Math.Pow((Math.Clamp(Math.Round(v / s) + z, 0, 255) - z) * s - v, 2);
            }))];
            Assert.Equal(Array.IndexOf(errors, errors.Min()), best[c]);
        }
        var (scale, zero, factors, shifts) = channels.Shared();
        Assert.Equal((whole / 8, z), (scale, zero));
        Assert.Equal([1, 1, 1, 2, 4, 8], factors);
        Assert.All(shifts, s => Assert.Equal(0, s));
    }

    [Fact]
    public void BitsWithinABudget()
    {
        (long, double)[] a = [(400, 0.8), (800, 0.1)], b = [(1600, 0.3), (3200, 0.02)], c = [(2000, 0.05), (4000, 0.01)];
        int[] best = MixedPrecision.Allocate([a, b, c], 6000)!;
        Assert.Equal([1, 1, 0], best);
        Assert.Equal(0.17, new[] { a, b, c }.Zip(best, (l, o) => l[o].Item2).Sum(), 1e-12);
        Assert.Equal([1, 1, 1], MixedPrecision.Allocate([a, b, c], 8000)!);
        Assert.Null(MixedPrecision.Allocate([a, b, c], 3999));
    }

    [Fact]
    public void DivergenceOfAnswers()
    {
        Assert.Equal(0, MixedPrecision.Divergence([1, 2, 3, 4], [2, 3, 5, 6], 2), 1e-12);
        Assert.Equal(0.5 * Math.Log(0.5 / 0.75) + 0.5 * Math.Log(0.5 / 0.25), MixedPrecision.Divergence([0, 0], [MathF.Log(3),
            0], 2), 1e-7);
    }

    /// <summary>[n, n] of some rows and columns, by elimination.</summary>
    private static double[] Inverse(double[] g, int[] of)
    {
        int n = of.Length;
        double[] a = new double[n * n], inverse = new double[n * n];
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) (a[i * n + j], inverse[i * n + j]) = (g[of[i] * 8 + of[j]], i == j ? 1 : 0);
        for (int p = 0; p < n; p++)
        {
            double pivot = a[p * n + p];
            for (int j = 0; j < n; j++) (a[p * n + j], inverse[p * n + j]) = (a[p * n + j] / pivot, inverse[p * n + j] / pivot);
            for (int i = 0; i < n; i++)
            {
                double factor = a[i * n + p];
                if (i == p) continue;
                for (int j = 0; j < n; j++) (a[i * n + j], inverse[i * n + j]) = (a[i * n + j] - factor * a[p * n + j],
                    inverse[i * n + j] - factor * inverse[p * n + j]);
            }
        }
        return inverse;
    }
}

/// <summary>Networks with weights and statistics as if they had been trained.</summary>
internal static class SmallNetworks
{
    public static Model Resnet() => Model.Create("resnet20", classes: 10, imageSize: 16).WithStatistics();

    /// <summary>Batch norms with statistics that are not those of the start.</summary>
    public static Model WithStatistics(this Model model)
    {
        var rng = new Rng(9);
        foreach (GraphNode norm in model.Graph.Nodes.Where(n => n.Op is BatchNorm2dOp))
        {
            for (int i = 1; i <= 4; i++)
                foreach (ref float v in norm.Operands[i]!.Tensor.Span) v = i is 1 or 4 ? rng.NextFloat(0.5f, 1.5f)
                    : rng.NextFloat(-0.3f, 0.3f);
        }
        return model;
    }

    public static Tensor Images(int count, int size, ulong seed = 4, int channels = 3)
    {
        var images = new Tensor(new Shape(count, channels, size, size));
        var rng = new Rng(seed);
        // Smooth, as pictures are.
        for (int i = 0; i < images.Length / (size * size); i++)
        {
            float a = rng.NextFloat(-1, 1), b = rng.NextFloat(-1, 1), c = rng.NextFloat(-1, 1);
            for (int p = 0; p < size * size; p++)
                images.Span[i * size * size + p] =
                    a * MathF.Sin(b * 7 * (p % size) / size + c) + b * (p / size) / size + 0.2f * rng.NextFloat(-1, 1);
        }
        return images;
    }
}
