using Espalier.Compression;
using Espalier.Compression.Methods.LowRank;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

/// <summary>What ranks keep of a layer's output, from the moments of its images.</summary>
public sealed class AwareLayerTests
{
    private static readonly float[] Falling = [8, 4, 2, 1, 1], Even = [4, 4, 4, 4, 4];

    /// <summary>A layer whose output has given singular values, by the moments of its output (10 of 10) and of its input (12 of
    /// 10); ten times the input has the same terms and shares, and a hundred times the error.</summary>
    [Theory]
    [InlineData(10)]
    [InlineData(12)]
    public void Shares_of_energy(int outputs)
    {
        using var scope = new Scope();
        foreach (var (spectrum, shares) in ((float[], double[])[])[(Falling, [0.744186, 0.930233, 0.976744, 0.988372, 1]),
            (Even, [0.2, 0.4, 0.6, 0.8, 1])])
        {
            var (_, layer) = SplitNet.Linear(10, outputs, w =>
            {
                for (int i = 0; i < spectrum.Length; i++) w[i * 11] = spectrum[i];
            });
            AwareLayer one = Of(layer, 1), ten = Of(layer, 10);
            Assert.Equal(5, layer.Ranks.Most);
            for (int r = 0; r < 5; r++)
            {
                Assert.Equal(shares[r], one.Energy[r], 1e-6);
                Assert.Equal(one.Energy[r], ten.Energy[r], 1e-6);
                Assert.Equal(spectrum[r], one.Groups[0].Values[r], 1e-5);
                Assert.Equal(10 * one.Groups[0].Values[r], ten.Groups[0].Values[r], 1e-4);
                // Equal values have any vectors: together they are the layer.
                if (spectrum == Falling && r < 3 || r == 4)
                    Assert.InRange(Removal.Difference(Truncated(one, r + 1), Truncated(ten, r + 1)), 0, 1e-5f);
            }
        }

        // Rows whose second moment is the identity, times the square of a factor.
        static AwareLayer Of(SplitLayer layer, float factor)
        {
            Tensor x = Tensor.Zeros(new Shape(10, 10));
            for (int i = 0; i < 10; i++) x.Span[i * 11] = factor * MathF.Sqrt(10);
            return Made(layer, x, centred: false);
        }
    }

    /// <summary>Inputs on a plane through the origin, and on one beside it: two ranks give what the layer gave.</summary>
    [Theory]
    [InlineData(8, false)]
    [InlineData(8, true)]
    [InlineData(12, false)]
    [InlineData(12, true)]
    public void A_response_of_two_dimensions_needs_two_ranks(int outputs, bool centred)
    {
        using var scope = new Scope();
        var rng = new Rng(6);
        var (_, layer) = SplitNet.Linear(8, outputs, w =>
        {
            foreach (ref float x in w) x = rng.NextFloat(-1, 1);
        });
        Tensor x = new(new Shape(40, 8)), plane = new(new Shape(2, 8));
        foreach (ref float v in plane.Span) v = rng.NextFloat(-1, 1);
        for (int row = 0; row < 40; row++)
        {
            float a = rng.NextFloat(-1, 1), b = rng.NextFloat(-1, 1);
            for (int i = 0; i < 8; i++) x.Span[row * 8 + i] = a * plane.Span[i] + b * plane.Span[8 + i] + (centred ? i - 3 : 0);
        }
        AwareLayer aware = Made(layer, x, centred);
        Assert.True(aware.Energy[0] < 0.99);
        Assert.Equal(1, aware.Energy[1], 1e-6);
        float[] whole = F.Linear(x, layer.Weight.Tensor).ToArray();
        Assert.InRange(Removal.Difference(whole, Run(2)), 0, 2e-5f);
        Assert.True(Removal.Difference(whole, Run(1)) > 0.1f);

        float[] Run(int rank)
        {
            LayerSplit split = aware.At(rank);
            Assert.Equal(centred, split.Shift is not null);
            var (first, second) = layer.Factors(split.Groups, rank);
            Tensor? bias = split.Shift is null ? null : Tensor.From(new Shape(outputs), split.Shift);
            return layer.Forward(x, first, second, bias, null).ToArray()[..whole.Length];
        }
    }

    private static AwareLayer Made(SplitLayer layer, Tensor x, bool centred)
    {
        Tensor seen = AwareLayer.SourceOf(layer).Value == layer.Node.Output ? F.Linear(x, layer.Weight.Tensor) : x;
        var moments = new Moments(seen.Shape[1]);
        moments.Add(seen);
        return new AwareLayer(layer, moments, centred);
    }

    private static float[] Truncated(AwareLayer aware, int rank)
    {
        var weight = new float[aware.Layer.Weight.Shape.Length];
        aware.At(rank).WriteTruncated(weight);
        return weight;
    }
}
