namespace Espalier.Tensors.Tests.Ops;

/// <summary>Gradients, row sets, cost, channel flow and messages of attention; <see cref="TransformerGoldenTests"/> has its
/// values.</summary>
public class AttentionOpTests
{
    private static readonly HeadLayout Uneven = new([2, 3], [4, 1]);

    public static TheoryData<string> Kinds =>
        ["plain", "few queries", "unequal heads", "causal", "key mask", "bias of keys", "bias of pairs", "images of one length"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void GradientsMatchDifferences(string kind)
    {
        using var scope = new Scope();
        RowSet keys = kind == "bias of pairs" ? RowSet.Uniform(3, 3) : RowSet.FromLengths([4, 1, 0, 5]);
        RowSet queries = kind == "few queries" ? RowSet.FromLengths([2, 1, 1, 0])
            : kind == "unequal heads" ? RowSet.FromLengths([1, 6, 2, 3]) : keys;
        HeadLayout heads = kind is "unequal heads" or "bias of pairs" ? Uneven : HeadLayout.Uniform(2, 2, 3);
        Tensor mask = Tensor.From(new Shape(keys.Rows), [.. Enumerable.Range(0, keys.Rows).Select(i => i % 3 == 0 ? 0f : 1f)]);
        Tensor bias = kind == "bias of pairs" ? GradientCheck.Random(4, 2, 3, 3) : GradientCheck.Random(4, keys.Rows);
        Tensor Run(Tensor[] t)
        {
            if (kind == "images of one length") return F.Attention(t[0], t[1], t[2], heads, 0.7f);
            (t[0].Rows, t[1].Rows, t[2].Rows) = (queries, keys, keys);
            return F.Attention(t[0], t[1], t[2], heads, 0.7f, t.Length > 3 ? t[3] : null, kind == "key mask" ? mask : null,
                kind == "causal" ? AttentionMask.Causal : AttentionMask.None);
        }

        Tensor q = GradientCheck.Random(1, queries.Rows, heads.QueryWidth);
        Tensor k = GradientCheck.Random(2, keys.Rows, heads.QueryWidth);
        Tensor v = GradientCheck.Random(3, keys.Rows, heads.ValueWidth);
        if (kind == "images of one length")
            (q, k, v) = (GradientCheck.Random(1, 2, 3, 4), GradientCheck.Random(2, 2, 5, 4), GradientCheck.Random(3, 2, 5, 6));
        GradientCheck.Check(Run, kind.StartsWith("bias") ? [q, k, v, bias] : [q, k, v]);
    }

    [Fact]
    public void QueriesOfSomeRowsGiveThoseRows()
    {
        using var scope = new Scope();
        HeadLayout heads = HeadLayout.Uniform(2, 16);
        Tensor q = GradientCheck.Random(1, 9, 32), k = GradientCheck.Random(2, 9, 32), v = GradientCheck.Random(3, 9, 32);
        q.Rows = k.Rows = RowSet.FromLengths([3, 2, 4]);
        foreach (AttentionMask mask in Enum.GetValues<AttentionMask>())
        {
            Tensor bias = GradientCheck.Random(4, 2, 4, 4);
            float[] all = F.TakeRows(F.Attention(q, k, v, heads, 0.7f, bias, mask: mask), 1, 1).ToArray();
            Tensor some = F.Attention(F.TakeRows(q, 1, 1), k, v, heads, 0.7f, bias, mask: mask);
            for (int i = 0; i < all.Length; i++) Assert.Equal(all[i], some.Span[i], 1e-5f);
            Assert.Equal([1, 1, 1], some.Rows!.Tokens);
        }
    }

    [Fact]
    public void ImagesDoNotSeeOneAnother()
    {
        using var scope = new Scope();
        Tensor q = GradientCheck.Random(1, 9, 8), k = GradientCheck.Random(2, 9, 8), v = GradientCheck.Random(3, 9, 8);
        q.Rows = k.Rows = RowSet.FromLengths([4, 5]);
        float[] before = F.Attention(q, k, v, HeadLayout.Uniform(2, 4), 0.5f).ToArray();
        foreach (Tensor t in (Tensor[])[q, k, v]) t.Span[(4 * 8)..].Fill(100);
        float[] after = F.Attention(q, k, v, HeadLayout.Uniform(2, 4), 0.5f).ToArray();
        Assert.Equal(before[..32], after[..32]);
        Assert.NotEqual(before[32..], after[32..]);
    }

    [Fact]
    public void AKeyThatIsHiddenIsLeftOut()
    {
        using var scope = new Scope();
        Tensor q = GradientCheck.Random(1, 2, 4), k = GradientCheck.Random(2, 3, 4), v = GradientCheck.Random(3, 3, 4);
        (q.Rows, k.Rows) = (RowSet.FromLengths([1, 1]), RowSet.FromLengths([2, 1]));
        float[] y = F.Attention(q, k, v, HeadLayout.Uniform(1, 4), 1, keyMask: Tensor.From(new Shape(3), [0, 1, 0])).ToArray();
        Assert.Equal(v.Span.Slice(4, 4), y.AsSpan(0, 4));
        Assert.Equal([0, 0, 0, 0], y[4..]);
        Tensor bias = Tensor.From(new Shape(3), [0, float.NegativeInfinity, float.NegativeInfinity]);
        y = F.Attention(q, k, v, HeadLayout.Uniform(1, 4), 1, bias).ToArray();
        Assert.Equal(v.Span[..4], y.AsSpan(0, 4));
        Assert.Equal([0, 0, 0, 0], y[4..]);
    }

    [Fact]
    public void NotANumberIsNotHidden()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 1, 5, 4);
        x.Span[9] = float.NaN;
        Assert.All(F.Attention(x, x, x, HeadLayout.Uniform(1, 4), 1).ToArray(), y => Assert.True(float.IsNaN(y)));
        Tensor bias = Tensor.Zeros(new Shape(5));
        Assert.All(F.Attention(x, x, x, HeadLayout.Uniform(1, 4), 1, bias).ToArray(), y => Assert.True(float.IsNaN(y)));
    }

    [Fact]
    public void CostsThePairsThatThereAre()
    {
        using var scope = new Scope();
        Tensor q = GradientCheck.Random(1, 3, 5), k = GradientCheck.Random(2, 9, 5), v = GradientCheck.Random(3, 9, 5);
        (q.Rows, k.Rows) = (RowSet.FromLengths([2, 1]), RowSet.FromLengths([4, 5]));
        Assert.Equal((2 * 4 + 1 * 5) * (5 + 5), new AttentionOp(q, k, v, Uneven, 1).Cost.MultiplyAdds);
    }

    [Fact]
    public void HeadsGoWhole()
    {
        Assert.Equal(["y2+0*3=x2+0*2:2", "y2+0*3=z2+0*2:2", "y2+0*3=w2+0*3:2"],
            FlowCheck.Of(t => F.Attention(t[0], t[1], t[2], HeadLayout.Uniform(2, 2, 3), 1), [1, 3, 4], [1, 3, 4], [1, 3, 6]));
        Assert.Contains("y2+0*3=v0+0*1:2",
            FlowCheck.Of(t => F.Attention(t[0], t[1], t[2], HeadLayout.Uniform(2, 2, 3), 1, t[3]),
                [1, 3, 4], [1, 3, 4], [1, 3, 6], [2, 3, 3]));
        Assert.Equal(
            ["y2+0*4=x2+0*2:1", "y2+0*4=z2+0*2:1", "y2+0*4=w2+0*4:1", "y2+4*1=x2+2*3:1", "y2+4*1=z2+2*3:1", "y2+4*1=w2+4*1:1"],
            FlowCheck.Of(t => F.Attention(t[0], t[1], t[2], Uneven, 1), [1, 3, 5], [1, 3, 5], [1, 3, 5]));
    }

    [Fact]
    public void IsMadeAgainFromItsSettings()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 2, 3, 5), bias = GradientCheck.Random(2, 2, 3, 3);
        var op = new AttentionOp(x, x, x, Uneven, 0.3f, bias, mask: AttentionMask.Causal);
        Op again = OpTable.Create("Attention", [x, x, x, bias], op.Settings);
        Assert.Equal(Uneven, ((AttentionOp)again).Heads);
        Assert.Equal(op.Run().ToArray(), again.Run().ToArray());
        Assert.Equal(op.Output.ToArray(), op.On([x, x, x, bias, null]).Run().ToArray());
    }

    [Fact]
    public void TheNumberOfHeadsThatAreAlikeFollowsTheColumns()
    {
        using var scope = new Scope();
        Tensor q = GradientCheck.Random(1, 2, 3, 6), v = GradientCheck.Random(2, 2, 3, 9);
        var op = new AttentionOp(q, q, v, HeadLayout.Uniform(3, 2, 3), 0.3f);
        Tensor[] fewer = [GradientCheck.Random(1, 2, 3, 4), GradientCheck.Random(1, 2, 3, 4), GradientCheck.Random(2, 2, 3, 6)];
        foreach (Op again in (Op[])[op.On(fewer), OpTable.Create("Attention", fewer, op.Settings)])
            Assert.Equal(HeadLayout.Uniform(2, 2, 3), ((AttentionOp)again).Heads);
        Assert.Throws<ArgumentException>(() => op.On([GradientCheck.Random(1, 2, 3, 5), q, v]));
        Assert.Throws<ArgumentException>(() => OpTable.Create("Attention", [GradientCheck.Random(1, 2, 3, 5), q, v], op.Settings));
    }

    [Fact]
    public void WhatDoesNotFitIsNamed()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 2, 3, 4), flat = GradientCheck.Random(1, 6, 4), more = GradientCheck.Random(1, 3, 3, 4);
        HeadLayout heads = HeadLayout.Uniform(2, 2);
        void Says(string text, Action run) => Assert.Contains(text, Assert.Throws<ArgumentException>(run).Message);
        void With(string text, Shape bias) => Says(text, () => F.Attention(x, x, x, heads, 1, Tensor.Zeros(bias)));
        Says("Attention needs token rows: [6,4]", () => F.Attention(flat, flat, flat, heads, 1));
        Says("Attention: q [2,3,4], k [2,3,4] and v [2,3,4] do not fit 3 heads of 2 and 1 columns",
            () => F.Attention(x, x, x, HeadLayout.Uniform(3, 2, 1), 1));
        Says("2 images and keys of 3", () => F.Attention(x, more, more, heads, 1));
        Says("key mask [5] for 6 keys", () => F.Attention(x, x, x, heads, 1, keyMask: Tensor.Zeros(new Shape(5))));
        With("bias [3,3,3] for 6 keys", new Shape(3, 3, 3));
        With("token 2 for a bias [2,2,2]", new Shape(2, 2, 2));
        Says("head 1 has a width of 0", () => _ = new HeadLayout([1, 0], [1, 1]));
        Says("head 1 has a width of 2147483647", () => _ = HeadLayout.Uniform(2, int.MaxValue));
    }

    [Fact]
    public void LayoutsAreEqualByTheirWidths()
    {
        Assert.Equal(HeadLayout.Uniform(2, 3), new HeadLayout([3, 3], [3, 3]));
        Assert.NotEqual(HeadLayout.Uniform(2, 3), new HeadLayout([3, 3], [3, 2]));
        Assert.NotEqual(HeadLayout.Uniform(1, 6), HeadLayout.Uniform(2, 3));
        Assert.Equal((5, 5, false), (Uneven.QueryWidth, Uneven.ValueWidth, Uneven.IsUniform));
        Assert.Equal("2 heads of 2, 3 and 4, 1 columns", Uneven.ToString());
    }
}
