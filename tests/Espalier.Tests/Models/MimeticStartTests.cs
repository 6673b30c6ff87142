using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Models;

/// <summary>The products that the paper prescribes, of what stands in the weights.</summary>
public sealed class MimeticStartTests
{
    private const int D = 64;

    private static readonly VitConfig OneHead = VitPresets.Get("vit-small-28") with { NumHeads = 1, NumLayers = 2, PruneLayers = null };

    [Theory]
    [InlineData("query.weight", "key.weight", 0.7, false)]
    [InlineData("out.weight", "value.weight", -0.4, true)]
    public void Products_are_the_identity_and_noise(string left, string right, double identity, bool output)
    {
        double[] m = Product(OneHead, 0, left, right, D, output);
        double diagonal = Enumerable.Range(0, D).Average(i => m[i * (D + 1)]);
        Assert.Equal(identity, diagonal, 0.05);
        double square = m.Select((x, i) => x - (i % (D + 1) == 0 ? identity : 0)).Sum(x => x * x) / m.Length;
        Assert.Equal(Math.Abs(identity) / Math.Sqrt(D), Math.Sqrt(square), 0.003);
        Assert.NotEqual(m, Product(OneHead, 1, left, right, D, output));
    }

    /// <summary>A head of a quarter of the width takes the largest quarter of the singular values, and each side half of each.</summary>
    [Fact]
    public void Heads_take_the_largest_singular_values()
    {
        VitConfig config = VitPresets.Get("vit-small-28");
        int rank = D / config.NumHeads;
        double[] product = Product(config, 0, "query.weight", "key.weight", rank, output: false), square = new double[D * D];
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++)
                for (int k = 0; k < D; k++) square[(i * D) + j] += product[(k * D) + i] * product[(k * D) + j];
        double[] squares = new SymmetricEigen(square, D).Values;
        Assert.All(squares.Skip(rank), s => Assert.Equal(0, s, 1e-6));
        Assert.InRange(Math.Sqrt(squares[rank - 1]), 0.7, 1.4);
        using var net = new VisionTransformer(config, start: VitStart.Mimetic);
        double[] norms = [.. new[] { "query.weight", "key.weight" }.Select(n => Weight(net, n).Take(rank * D).Sum(x => (double)x * x))];
        Assert.Equal(norms[0], norms[1], 1e-3 * norms[0]);
        Assert.Equal(squares.Sum(s => Math.Sqrt(Math.Max(s, 0))), norms[0], 1e-3 * norms[0]);
    }

    [Fact]
    public void Positions_are_waves_and_nothing_else_changes()
    {
        VitConfig config = VitPresets.Get("vit-small-28");
        using var published = new VisionTransformer(config, 3);
        using var mimetic = new VisionTransformer(config, 3, start: VitStart.Mimetic);
        float[] positions = Named(mimetic, "position_embeddings"), usual = Named(published, "position_embeddings");
        Assert.Equal(usual[..D], positions[..D]);                                              // of the class token
        Span<float> second = positions.AsSpan(2 * D, D), below = positions.AsSpan(8 * D, D);   // patches (1, 0) and (0, 1)
        Assert.Equal([0.5f * MathF.Sin(1), 0.5f * MathF.Cos(1), 0, 0.5f], [second[0], second[16], second[32], second[48]]);
        Assert.Equal([0, 0.5f, 0.5f * MathF.Sin(1), 0.5f * MathF.Cos(1)], [below[0], below[16], below[32], below[48]]);
        foreach (string name in new[] { "patch_embeddings.weight", "layer.0.ffn.fc1.weight", "layer.0.attn.query.bias" })
            Assert.Equal(Named(published, name), Named(mimetic, name));
    }

    [Fact]
    public void A_width_without_four_equal_parts_is_refused()
    {
        VitConfig odd = OneHead with { HiddenSize = 66 };
        Assert.Contains("divide by 4", Assert.Throws<EspalierException>(() => new VisionTransformer(odd, start: VitStart.Mimetic)).Message);
    }

    /// <summary>Wqᵀ Wk of the first head, or Wo Wv, [D, D].</summary>
    private static double[] Product(VitConfig config, int block, string left, string right, int rank, bool output)
    {
        using var net = new VisionTransformer(config, start: VitStart.Mimetic);
        float[] a = Weight(net, left, block), b = Weight(net, right, block);
        var m = new double[D * D];
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++)
                for (int k = 0; k < rank; k++) m[(i * D) + j] += (double)(output ? a[(i * D) + k] : a[(k * D) + i]) * b[(k * D) + j];
        return m;
    }

    private static float[] Weight(VisionTransformer net, string name, int block = 0) => Named(net, $"layer.{block}.attn.{name}");

    private static float[] Named(VisionTransformer net, string name) =>
        net.NamedParameters().Single(p => p.Name.EndsWith(name, StringComparison.Ordinal)).Value.ToArray();
}
