using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Training;

public sealed class MixingTests
{
    [Fact]
    public void MixupBlendsAnImageWithItsMirrorInTheBatch()
    {
        using var scope = new Scope();
        Tensor images = Tensor.From(new Shape(3, 1, 1, 2), [0, 4, 10, 20, 8, 0]);
        Mixing.Blend(images, 0.75f);
        Assert.Equal([2f, 3, 10, 20, 6, 1], images.ToArray());
    }

    [Fact]
    public void TargetsHoldBothLabelsInTheirShares()
    {
        using var scope = new Scope();
        Tensor targets = Mixing.Targets([0, 1, 1], 4, 0.2f, 0.75f);
        float[] first = [.05f + .6f, .05f + .2f, .05f, .05f], middle = [.05f, .85f, .05f, .05f], last = [.25f, .65f, .05f, .05f];
        float[] expected = [.. first, .. middle, .. last];
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], targets.Span[i], 1e-6f);
    }

    /// <summary>Every pixel comes whole from one of the two images, and the share is that of those that stayed.</summary>
    [Fact]
    public void CutMixTakesARectangleFromTheOther()
    {
        using var scope = new Scope();
        var rng = new Rng(5);
        var shares = new HashSet<float>();
        for (int round = 0; round < 50; round++)
        {
            var images = new Tensor(new Shape(2, 3, 7, 5));
            images.Span[..105].Fill(1);
            images.Span[105..].Fill(2);
            float share = Mixing.Cut(images, rng.NextFloat(), ref rng);
            int stayed = 0;
            for (int i = 0; i < 105; i++)
            {
                Assert.Equal(3, images.Span[i] + images.Span[105 + i]);
                if (images.Span[i] == 1) stayed++;
            }
            Assert.Equal(share, stayed / 105f, 1e-5f);
            shares.Add(share);
        }
        Assert.True(shares.Count > 10, $"only {shares.Count} different shares");
    }

    /// <summary>Beta(α, α) has mean 1/2 and variance 1 / (4 (2α + 1)).</summary>
    [Theory]
    [InlineData(0.4)]
    [InlineData(1)]
    [InlineData(3)]
    public void SharesAreBetaDistributed(double alpha)
    {
        var rng = new Rng(1);
        const int draws = 40_000;
        double sum = 0, squares = 0;
        for (int i = 0; i < draws; i++)
        {
            float x = Mixing.Beta(alpha, ref rng);
            Assert.InRange(x, 0, 1);
            sum += x;
            squares += (x - 0.5) * (x - 0.5);
        }
        Assert.Equal(0.5, sum / draws, 0.01);
        Assert.Equal(1 / (4 * (2 * alpha + 1)), squares / draws, 0.003);
    }

    [Fact]
    public void WithBothOnEachBatchGetsOne()
    {
        using var scope = new Scope();
        var rng = new Rng(3);
        int cut = 0;
        for (int round = 0; round < 40; round++)
        {
            Tensor images = Tensor.From(new Shape(2, 1, 4, 4), [.. Enumerable.Repeat(0f, 16), .. Enumerable.Repeat(1f, 16)]);
            Tensor targets = new Mixing(Mixup: 5, CutMix: 1).Run(images, [0, 1], 2, 0, ref rng);
            for (int n = 0; n < 2; n++) Assert.Equal(1, targets.Span[2 * n] + targets.Span[2 * n + 1], 1e-5f);
            if (images.ToArray().All(x => x is 0 or 1)) cut++;
        }
        Assert.InRange(cut, 8, 32);
    }
}
