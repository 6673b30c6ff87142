namespace Espalier.Tensors.Tests.Ops;

/// <summary>What token reduction needs: class attention, rows kept and fused, matched and merged, sampled; and lengths of
/// rows.</summary>
public class TokenOpTests
{
    private static readonly HeadLayout OneHead = HeadLayout.Uniform(1, 2);

    [Fact]
    public void GradientsMatchDifferences()
    {
        using var scope = new Scope();
        Tensor q = GradientCheck.Random(1, 2, 7), k = GradientCheck.Random(2, 9, 7), x = GradientCheck.Random(3, 9, 4);
        RowSet rows = RowSet.FromLengths([4, 5]);
        GradientCheck.Check(t => F.ClassAttention(t[0], With(t[1], rows), new HeadLayout([3, 4], [3, 4]), 0.6f), q, k);
        GradientCheck.Check(t => F.RowNorm(t[0]), x);
        GradientCheck.Check(t => F.RowMean(With(t[0], rows)), x);
        GradientCheck.Check(t => F.RowMean(With(t[0], rows), 5), x);
        // Scores far enough apart to stay in their order.
        Tensor score = Tensor.From(new Shape(9), [0, 0.9f, 0.2f, 0.5f, 0, 0.1f, 0.7f, 0.4f, 0.3f]);
        GradientCheck.Check(t => F.KeepRows(With(t[0], rows), t[1], KeepRule.Count(2), fuse: true), x, score);
        Tensor plan = Tensor.From(new Shape(9), [0, 2, 1, 2, 0, 1, 2, 1, 1]);
        Tensor weights = Tensor.From(new Shape(9), [1, 2, 1, 3, 1, 1, 2, 4, 1]);
        GradientCheck.Check(t => F.MergeRows(With(t[0], rows), plan, 2, weights: t[1]), x, weights);
        GradientCheck.Check(t => F.MergeRows(With(t[0], rows), plan, 2), x);
        GradientCheck.Check(t => F.MergeRows(With(t[0], rows), plan, 2, mean: false), x);
    }

    [Fact]
    public void ClassAttentionIsTheFirstRowOfAttention()
    {
        using var scope = new Scope();
        HeadLayout heads = HeadLayout.Uniform(3, 4);
        RowSet rows = RowSet.FromLengths([5, 1, 6]);
        Tensor q = With(GradientCheck.Random(1, 12, 12), rows), k = With(GradientCheck.Random(2, 12, 12), rows);
        float[] shares = F.ClassAttention(F.TakeRows(q, 0), k, heads, 0.5f).ToArray();
        // With values that are 1 for one key each, attention gives its shares.
        for (int key = 0; key < 12; key++)
        {
            Tensor v = With(Tensor.Zeros(new Shape(12, 12)), rows);
            v.Span.Slice(key * 12, 12).Fill(1);
            Tensor y = F.TakeRows(F.Attention(q, k, v, heads, 0.5f), 0);
            int image = key < 5 ? 0 : key < 6 ? 1 : 2;
            Assert.Equal(y.Span.Slice(image * 12, 12).ToArray().Average(), shares[key], 1e-6f);
        }
    }

    [Fact]
    public void EachRowIsToldTheMeanOfThoseBehindTheFirst()
    {
        using var scope = new Scope();
        Tensor x = With(Tensor.From(new Shape(6, 2), [9, 9, 1, 2, 3, 6, 7, 7, 8, 8, 2, 4]), RowSet.FromLengths([3, 1, 2]));
        Assert.Equal([2, 4, 2, 4, 2, 4, 0, 0, 2, 4, 2, 4], F.RowMean(x).ToArray());
        Assert.Equal([7f, 7], F.RowMean(x, 0).ToArray()[6..8]);
        // Rows that were dropped are gone from the mean, too.
        Tensor left = F.KeepRows(x, Tensor.From(new Shape(6), [0, 1, 0, 0, 0, 1]), KeepRule.AtLeast(0.5f));
        Assert.Equal([1, 2, 1, 2, 0, 0, 2, 4, 2, 4], F.RowMean(left).ToArray());
    }

    [Fact]
    public void DroppedRowsAreFused()
    {
        using var scope = new Scope();
        Tensor x = With(Tensor.From(new Shape(5, 2), [9, 9, 1, 2, 5, 5, 3, 4, 6, 6]), RowSet.Uniform(1, 5));
        Tensor score = Tensor.From(new Shape(5), [0, 0.1f, 0.5f, 0.2f, 0.6f]);
        Tensor y = F.KeepRows(x, score, KeepRule.Count(2), fuse: true);
        Near([9, 9, 5, 5, 6, 6, 0.7f, 1], y.ToArray());
        Assert.Equal([0, 2, 4, 3], y.Rows!.Tokens.ToArray());
        Assert.Equal(x.ToArray(), F.KeepRows(x, score, KeepRule.Count(4), fuse: true).ToArray());
        Tensor example = F.KeepRows(Tensor.Meta(x.Shape, x.Rows), Tensor.Meta(score.Shape), KeepRule.Count(2), fuse: true);
        Assert.Equal(new Shape(4, 2), example.Shape);
        Assert.Throws<ArgumentException>(() => F.Attention(y, y, y, HeadLayout.Uniform(1, 2), 1, mask: AttentionMask.Causal));
    }

    [Fact]
    public void TheLikestAreMerged()
    {
        using var scope = new Scope();
        Tensor x = With(Tensor.From(new Shape(5, 2), [10, 0, 1, 0, 0, 1, 0, 2, 3, 0]), RowSet.Uniform(1, 5));
        Tensor plan = F.MatchRows(x, OneHead, 2), sizes = F.Affine(plan, 0, 1);
        Assert.Equal([0, 1, 2, 2, 1], plan.ToArray());
        Tensor y = F.MergeRows(x, plan, 2, weights: sizes);
        Near([10, 0, 2, 0, 0, 1.5f], y.ToArray());
        Assert.Equal([0, 1, 2], y.Rows!.Tokens.ToArray());
        Assert.Equal([1, 2, 2], F.MergeRows(sizes, plan, 2, mean: false).ToArray());
    }

    // Directions 0.1, 0, 0.55, 1, 1.3, 3, 1.001: row 6 is most like row 3, then 4, then 2 (1 is as far as 3, but for prefix 2).
    [Theory]
    [InlineData(0, 1, new float[] { 0, 3, 1, 4, 2, 5, 4 })]
    [InlineData(1, 2, new float[] { 0, 2, 1, 3, 3, 4, 3 })]
    [InlineData(2, 9, new float[] { 0, 1, 2, 3, 3, 4, 3 })]
    [InlineData(1, 0, new float[] { 0, 4, 1, 5, 2, 6, 3 })]
    public void WhatIsInFrontStaysThere(int prefix, int count, float[] places)
    {
        using var scope = new Scope();
        float[] angles = [0.1f, 0, 0.55f, 1, 1.3f, 3, 1.001f];
        Tensor x = new(new Shape(7, 2));
        for (int i = 0; i < 7; i++)
            (x.Span[2 * i], x.Span[2 * i + 1]) = (MathF.Cos(angles[i]) * (i + 1), MathF.Sin(angles[i]) * (i + 1));
        Assert.Equal(places, F.MatchRows(With(x, RowSet.Uniform(1, 7)), OneHead, count, prefix).ToArray());
    }

    [Fact]
    public void EqualRowsAreMergedInTheirOrder()
    {
        using var scope = new Scope();
        Tensor x = With(Tensor.Full(new Shape(11, 4), 1), RowSet.FromLengths([8, 3]));
        float[] places = [0, 2, 2, 3, 2, 4, 1, 5, 0, 1, 1];
        Assert.Equal(places, F.MatchRows(x, HeadLayout.Uniform(2, 2), 2).ToArray());
        Assert.Equal(places, F.MatchRows(With(Tensor.Zeros(x.Shape), x.Rows!), new HeadLayout([3, 1], [3, 1]), 2).ToArray());
    }

    [Fact]
    public void MergingTheSameRowsLeavesAttentionAsItWas()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(4, 6, 8);
        x.Span.Slice(3 * 8, 8).CopyTo(x.Span.Slice(4 * 8, 8));
        x.Rows = RowSet.Uniform(1, 6);
        Tensor plan = F.MatchRows(x, HeadLayout.Uniform(2, 4), 1), sizes = F.Affine(plan, 0, 1);
        Tensor merged = F.MergeRows(x, plan, 1, weights: sizes), bias = F.Log(F.MergeRows(sizes, plan, 1, mean: false));
        Tensor q = F.TakeRows(x, 0), y = F.Attention(q, x, x, HeadLayout.Uniform(2, 4), 1);
        Near(y.ToArray(), F.Attention(q, merged, merged, HeadLayout.Uniform(2, 4), 1, bias).ToArray());
    }

    [Fact]
    public void SamplingKeepsNearlyAllOfEqualScoresAndFewOfPeakedOnes()
    {
        using var scope = new Scope();
        float Kept(float[] scores, int count, int prefix = 1) =>
            F.SampleRows(With(Tensor.From(new Shape(scores.Length), scores), RowSet.Uniform(1, scores.Length)), count, prefix)
                .ToArray().Sum();
        float[] equal = [.. Enumerable.Repeat(1f, 197)], peaked = new float[197];
        peaked[50] = 1;
        Assert.InRange(Kept(equal, 197), 190, 197);
        Assert.Equal(2, Kept(peaked, 197));
        Assert.InRange(Kept(equal, 20), 19, 20);
        Assert.Equal(4, Kept([5, 1, 0, 0], 2, 2));
        Assert.Equal(4, Kept([5, 0, 0, 0], 2));
        // Scores 1, 2, 4 behind the class token: the curve is 0, 1/3, 1; levels 1/3 and 1.
        Assert.Equal([1, 0, 1, 1], F.SampleRows(With(Tensor.From(new Shape(4), [9, 1, 2, 4]), RowSet.Uniform(1, 4)),
            3).ToArray());
    }

    [Fact]
    public void ExamplesHaveTheRowsThatStay()
    {
        RowSet rows = RowSet.Uniform(2, 9);
        Tensor x = Tensor.Meta(new Shape(18, 3), rows), score = Tensor.Meta(new Shape(18), rows);
        Assert.Equal(10, F.KeepRows(x, score, KeepRule.Count(4)).Shape[0]);
        Assert.Equal(8, F.KeepRows(x, score, KeepRule.Share(0.25), 2).Shape[0]);
        Assert.Equal(18, F.KeepRows(x, score, KeepRule.AtLeast(0)).Shape[0]);
        Tensor listed = F.KeepRows(x, score, KeepRule.Tokens([2, 4, 30]));
        Assert.Equal([0, 2, 4, 0, 2, 4], listed.Rows!.Tokens.ToArray());
        Assert.Equal(14, F.MergeRows(x, score, 2).Shape[0]);
        Assert.Equal(10, F.MergeRows(x, score, 20).Shape[0]);
        // Of a list behind a number it is not known which are there.
        Tensor four = F.KeepRows(x, score, KeepRule.Count(4));
        Assert.Equal(6, F.KeepRows(four, Tensor.Meta(new Shape(10)), KeepRule.Tokens([7, 8])).Shape[0]);
    }

    [Fact]
    public void ChannelsAreCoupledThroughRows()
    {
        Assert.Equal(["y0=x0"], FlowCheck.Of(t => F.RowNorm(t[0]), [2, 3]));
        Assert.Equal(["y1=x1"], FlowCheck.Of(t => F.RowMean(With(t[0], RowSet.Uniform(1, 6))), [6, 4]));
        Assert.Equal(["z1=x1"], FlowCheck.Of(
            t => F.ClassAttention(t[0], With(t[1], RowSet.Uniform(2, 3)), HeadLayout.Uniform(2, 2), 1), [2, 4], [6, 4]));
        Assert.Equal(["y1=x1"], FlowCheck.Of(
            t => F.MergeRows(With(t[0], RowSet.Uniform(1, 6)), Tensor.Zeros(new Shape(6)), 2), [6, 4]));
    }

    [Fact]
    public void WrongOperandsAreNamed()
    {
        using var scope = new Scope();
        Tensor bare = Tensor.Zeros(new Shape(6, 4)), rows = With(Tensor.Zeros(new Shape(6, 4)), RowSet.Uniform(2, 3));
        Assert.Contains("ClassAttention: k [6,4] has no row set", Error(() =>
            F.ClassAttention(bare, bare, HeadLayout.Uniform(1, 4), 1)));
        Assert.Contains("ClassAttention: q [6,4] and k [6,4]", Error(() =>
            F.ClassAttention(bare, rows, HeadLayout.Uniform(1, 4), 1)));
        Assert.Contains("MatchRows: keys [6,4] do not fit", Error(() => F.MatchRows(rows, HeadLayout.Uniform(1, 3), 1)));
        Assert.Contains("MergeRows: x [6,4], plan [6,4]", Error(() => F.MergeRows(rows, bare, 1)));
        Assert.Contains("MergeRows: the plan has places", Error(() => F.MergeRows(rows, Tensor.Full(new Shape(6), 2), 1)));
        Assert.Contains("MergeRows: the plan has places", Error(() =>
            F.MergeRows(rows, Tensor.Full(new Shape(6), float.NaN), 1)));
        Assert.Contains("SampleRows: score [6,4] must be [rows]", Error(() => F.SampleRows(rows, 3)));
        Assert.Contains("SampleRows: 1 rows", Error(() => F.SampleRows(With(Tensor.Zeros(new Shape(6)), rows.Rows!), 1)));
        Assert.Contains("RowMean: x [6,4] has no row set", Error(() => F.RowMean(bare)));
        Assert.Contains("RowMean: a prefix of -1", Error(() => F.RowMean(rows, -1)));
        Assert.Contains("RowNorm: x [6] must", Error(() => F.RowNorm(Tensor.Zeros(new Shape(6)))));
    }

    private static string Error(Action act) => Assert.Throws<ArgumentException>(act).Message;

    private static Tensor With(Tensor x, RowSet rows)
    {
        x.Rows = rows;
        return x;
    }

    private static void Near(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-5f);
    }
}
