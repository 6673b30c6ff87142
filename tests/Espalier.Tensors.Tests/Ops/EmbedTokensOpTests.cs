namespace Espalier.Tensors.Tests.Ops;

/// <summary>Rows of words, as many as each text has, and what is taken from their end.</summary>
public class EmbedTokensOpTests
{
    private static readonly Tensor Ids = Unscoped(new Shape(3, 4), [1, 4, 0, 0, 4, 4, 2, 1, 0, 3, 2, 4]);

    [Fact]
    public void ATextEndsAtTheFirstOfItsLargestIds()
    {
        using var scope = new Scope();
        Tensor table = Tensor.From(new Shape(5, 2), [0, 0, 1, 10, 2, 20, 3, 30, 4, 40]);
        Tensor places = Tensor.From(new Shape(4, 2), [0.1f, 0, 0.2f, 0, 0.3f, 0, 0.4f, 0]);
        Tensor y = F.EmbedTokens(Ids, table, places);
        Assert.Equal([0, 2, 3, 7], y.Rows!.Starts.ToArray());
        Assert.Equal([0, 1, 0, 0, 1, 2, 3], y.Rows.Tokens.ToArray());
        Assert.Equal([1.1f, 10, 4.2f, 40, 4.1f, 40, 0.1f, 0, 3.2f, 30, 2.3f, 20, 4.4f, 40], y.ToArray());
        Assert.Equal([4.2f, 40, 4.1f, 40, 4.4f, 40], F.TakeRows(y, -1).ToArray());
        Assert.Throws<ArgumentException>(() => F.TakeRows(y, -2, 2));
    }

    [Fact]
    public void GradientsMatchDifferences()
    {
        using var scope = new Scope();
        Tensor table = GradientCheck.Random(1, 5, 3), places = GradientCheck.Random(2, 4, 3);
        GradientCheck.Check(t => F.EmbedTokens(Ids, t[0], t[1]), table, places);
        GradientCheck.Check(t => F.TakeRows(F.EmbedTokens(Ids, t[0], t[1]), -1), table, places);
    }

    [Theory]
    [InlineData(5)]
    [InlineData(-1)]
    [InlineData(1.5f)]
    [InlineData(float.NaN)]
    public void AnIdThatIsNoneIsRefused(float id)
    {
        using var scope = new Scope();
        Tensor ids = Tensor.From(new Shape(1, 2), [id, 4]);
        Assert.Throws<ArgumentException>(() => F.EmbedTokens(ids, Tensor.Zeros(new Shape(5, 2)), Tensor.Zeros(new Shape(2, 2))));
    }

    [Fact]
    public void ShapesThatDoNotFitAreRefused()
    {
        using var scope = new Scope();
        Assert.Throws<ArgumentException>(() => F.EmbedTokens(Ids, Tensor.Zeros(new Shape(5, 2)), Tensor.Zeros(new Shape(3, 2))));
        Assert.Throws<ArgumentException>(() => F.EmbedTokens(Ids, Tensor.Zeros(new Shape(5, 2)), Tensor.Zeros(new Shape(4, 3))));
    }

    /// <summary>The last row alone of causal attention, taken in front of the queries, is what it is in the whole.</summary>
    [Fact]
    public void OnlyTheLastRowIsComputedWhereNobodyReadsOthers()
    {
        using var scope = new Scope();
        Tensor table = GradientCheck.Random(1, 5, 4), places = GradientCheck.Random(2, 4, 4), w = GradientCheck.Random(3, 4, 4);
        Graph graph = Graph.Trace(Forward, new Shape(2, 4), [("table", table), ("places", places), ("w", w)]);
        Graph prepared = graph.Prepared(training: false);
        GraphNode attention = Assert.Single(prepared.Nodes, n => n.Op is AttentionOp);
        Assert.Equal((2, 8, AttentionMask.None), (attention.Op.Inputs[0].Shape[0], attention.Op.Inputs[1].Shape[0],
            ((AttentionOp)attention.Op).Mask));
        float[] whole = Forward(Ids).ToArray(), early = prepared.Run(Ids).ToArray();
        for (int i = 0; i < whole.Length; i++) Assert.Equal(whole[i], early[i], 1e-5f);

        Tensor Forward(Tensor ids)
        {
            Tensor x = F.EmbedTokens(ids, table, places);
            Tensor y = F.Attention(F.Linear(x, w), x, x, HeadLayout.Uniform(2, 2), 0.7f, mask: AttentionMask.Causal);
            return F.TakeRows(F.Relu(y + x), -1);
        }
    }

    private static Tensor Unscoped(Shape shape, float[] values)
    {
        Tensor t = Tensor.Unscoped(shape);
        values.CopyTo(t.Span);
        return t;
    }
}
