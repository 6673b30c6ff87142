using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Which rows of an image are so much alike that they may be merged: bipartite soft matching of token merging (Bolya et al.,
/// arXiv 2210.09461). Rows are by turns of two sets; of the first the <c>count</c> that are most like a row of the second go to
/// that one. keys [rows, columns], compared by the mean over heads and by direction -> y [rows]: the place of each row among
/// those that are left of its image, for <see cref="MergeRowsOp"/>. No gradient passes.
/// </summary>
public sealed unsafe class MatchRowsOp : Op, IOfHeads
{
    private readonly Tensor keys;
    private readonly RowSet rows;

    /// <param name="heads">Of unequal ones all columns are compared.</param>
    /// <param name="count">Rows to merge away, at most half of those behind the prefix.</param>
    /// <param name="prefix">The first rows of an image, which are merged with none.</param>
    public MatchRowsOp(Tensor keys, HeadLayout heads, int count, int prefix) : base(keys)
    {
        rows = keys.Rows ?? throw new ArgumentException($"MatchRows: keys {keys.Shape} have no row set");
        if (keys.Rank != 2 || keys.Shape[1] != heads.QueryWidth)
            throw new ArgumentException($"MatchRows: keys {keys.Shape} do not fit {heads}");
        if (count < 0 || prefix < 0) throw new ArgumentException($"MatchRows: {count} rows behind a prefix of {prefix}");
        (this.keys, Heads, Count, Prefix) = (keys, heads.OfQueries(), count, prefix);
    }

    public override string Name => "MatchRows";

    public HeadLayout Heads { get; }

    public int Count { get; }

    public int Prefix { get; }

    /// <summary>Heads to take the mean over, and their width.</summary>
    internal (int Count, int Width) Means => Heads.IsUniform ? (Heads.Count, Heads.QueryWidthOf(0)) : (1, Heads.QueryWidth);

    public override Shape Result => new(rows.Rows);

    public override Cost Cost
    {
        get
        {
            long pairs = 0;
            for (int b = 0; b < rows.Images; b++) pairs += ((long)rows.Length(b) + 1) / 2 * (rows.Length(b) / 2);
            return new Cost(Count == 0 ? 0 : pairs * Means.Width, sizeof(float) * (keys.Length + rows.Rows));
        }
    }

    Tensor IOfHeads.Queries => keys;

    Tensor IOfHeads.Values => keys;

    public override Op On(Tensor?[] operands, RunContext run = default) =>
        new MatchRowsOp(operands[0]!, Heads.For(operands[0]!.Shape[-1]), Count, Prefix);

    Op IOfHeads.WithHeads(HeadLayout heads) =>
        new MatchRowsOp(Tensor.Meta(keys.Shape.With(-1, heads.QueryWidth), rows), heads, Count, Prefix);

    protected override void Save(OpSettings settings)
    {
        Heads.Save(settings);
        settings.Set("count", Count).Set("prefix", Prefix);
    }

    private protected override RowSet ResultRows() => rows;

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        var (heads, width) = Means;
        fixed (int* starts = rows.Starts)
            RowMatching.Run(starts, rows.Images, keys.Data, keys.Shape[1], heads, width, Count, Prefix, y.Data, 1);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
    }

    /// <summary>Rows are compared by what is there; the op says nothing of their channels.</summary>
    public override void Flow(ChannelFlow flow)
    {
        if (Cost.MultiplyAdds > 0) flow.Work(Cost.MultiplyAdds, keys, -1);
    }
}

public static partial class F
{
    /// <inheritdoc cref="MatchRowsOp"/>
    public static Tensor MatchRows(Tensor keys, HeadLayout heads, int count, int prefix = 1) =>
        new MatchRowsOp(keys, heads, count, prefix).Run();
}
