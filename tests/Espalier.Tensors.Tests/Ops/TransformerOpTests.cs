namespace Espalier.Tensors.Tests.Ops;

/// <summary>Gradients, channel flow and messages of Linear, LayerNorm, Attention and AssembleTokens.</summary>
public class TransformerOpTests
{
    [Fact]
    public void LinearGradientsMatchDifferences()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 3, 4), w = GradientCheck.Random(2, 5, 4);
        Tensor b = GradientCheck.Random(3, 5), residual = GradientCheck.Random(4, 3, 5);
        GradientCheck.Check(t => F.Linear(t[0], t[1]), x, w);
        GradientCheck.Check(t => F.Linear(t[0], t[1], t[2], gelu: true), x, w, b);
        GradientCheck.Check(t => F.Linear(t[0], t[1], t[2], t[3], gelu: true), x, w, b, residual);
    }

    [Fact]
    public void LayerNormGradientsMatchDifferences()
    {
        using var scope = new Scope();
        GradientCheck.Check(t => F.LayerNorm(t[0], t[1], t[2], 1e-5f),
            GradientCheck.Random(1, 3, 6), GradientCheck.Random(2, 6), GradientCheck.Random(3, 6));
    }

    [Fact]
    public void AttentionGradientsMatchDifferences()
    {
        using var scope = new Scope();
        RowSet offsets = RowSet.FromLengths([3, 1, 4]);
        // q, k and v want gradients together, so they are cut from one tensor.
        GradientCheck.Check(
            t => F.Attention(F.Slice(t[0], 1, 0, 4), F.Slice(t[0], 1, 4, 4), F.Slice(t[0], 1, 8, 4), offsets, 2, 0.7f),
            GradientCheck.Random(1, 8, 12));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void PrefixAttentionGradientsMatchDifferences(int queries)
    {
        using var scope = new Scope();
        RowSet offsets = RowSet.FromLengths([3, 2, 4]);
        GradientCheck.Check(t => F.PrefixAttention(t[0], t[1], t[2], offsets, 2, 0.7f),
            GradientCheck.Random(1, 3 * queries, 6), GradientCheck.Random(2, 9, 6), GradientCheck.Random(3, 9, 6));
    }

    [Fact]
    public void PrefixAttentionIsAttentionOfTheFirstRows()
    {
        using var scope = new Scope();
        RowSet offsets = RowSet.FromLengths([3, 2, 4]);
        int[] first = [0, 1, 3, 4, 5, 6];
        Tensor q = GradientCheck.Random(1, 9, 32), k = GradientCheck.Random(2, 9, 32), v = GradientCheck.Random(3, 9, 32);
        float[] all = F.GatherRows(F.Attention(q, k, v, offsets, 2, 0.7f), first).ToArray();
        float[] some = F.PrefixAttention(F.GatherRows(q, first), k, v, offsets, 2, 0.7f).ToArray();
        for (int i = 0; i < all.Length; i++) Assert.Equal(all[i], some[i], 1e-5f);
        Assert.Throws<ArgumentException>(() => F.PrefixAttention(q, k, v, RowSet.FromLengths([9, 0]), 2, 1));
        Assert.Throws<ArgumentException>(() => F.PrefixAttention(q, k, v, RowSet.FromLengths([5, 4]), 2, 1));
    }

    [Fact]
    public void TokenGradientsMatchDifferences()
    {
        using var scope = new Scope();
        GradientCheck.Check(t => F.AssembleTokens(t[0], t[1], t[2], t[3]),
            GradientCheck.Random(1, 4, 3), GradientCheck.Random(2, 1, 4, 3), GradientCheck.Random(3, 1, 1, 3), GradientCheck.Random(4, 1, 1, 3));
    }

    [Fact]
    public void ImagesDoNotSeeOneAnother()
    {
        using var scope = new Scope();
        Tensor q = GradientCheck.Random(1, 9, 8), k = GradientCheck.Random(2, 9, 8), v = GradientCheck.Random(3, 9, 8);
        RowSet offsets = RowSet.FromLengths([4, 5]);
        float[] before = F.Attention(q, k, v, offsets, 2, 0.5f).ToArray();
        foreach (Tensor t in (Tensor[])[q, k, v]) t.Span[(4 * 8)..].Fill(100);
        float[] after = F.Attention(q, k, v, offsets, 2, 0.5f).ToArray();
        Assert.Equal(before[..32], after[..32]);
        Assert.NotEqual(before[32..], after[32..]);
    }

    [Fact]
    public void ChannelsFollowWeightsAndHeads()
    {
        Assert.Equal(["y1=z0", "x1=z1"], FlowCheck.Of(t => F.Linear(t[0], t[1]), [3, 4], [5, 4]));
        Assert.Equal(["y1=x1", "y1=z0", "y1=w0"], FlowCheck.Of(t => F.LayerNorm(t[0], t[1], t[2], 1e-5f), [3, 4], [4], [4]));
        Assert.Equal(["y1+0*4=x1+0*4:2", "y1+0*4=z1+0*4:2", "y1+0*4=w1+0*4:2"],
            FlowCheck.Of(t => F.Attention(t[0], t[1], t[2], RowSet.Uniform(1, 3), 2, 1), [3, 8], [3, 8], [3, 8]));
        Assert.Equal(["y1+0*4=x1+0*4:2", "y1+0*4=z1+0*4:2", "y1+0*4=w1+0*4:2"],
            FlowCheck.Of(t => F.PrefixAttention(t[0], t[1], t[2], RowSet.Uniform(1, 3), 2, 1), [1, 8], [3, 8], [3, 8]));
    }

    [Fact]
    public void WrongShapesAreNamed()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 2, 3);
        Assert.Contains("Linear: x [2,3] and weight [2,2]",
            Assert.Throws<ArgumentException>(() => F.Linear(x, GradientCheck.Random(1, 2, 2))).Message);
        Assert.Contains("LayerNorm: x [2,3]", Assert.Throws<ArgumentException>(() => F.LayerNorm(x, x, x, 1e-5f)).Message);
        Assert.Contains("Attention: q [2,3]",
            Assert.Throws<ArgumentException>(() => F.Attention(x, x, x, RowSet.Uniform(1, 2), 2, 1)).Message);
    }
}
