using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// The token rows that enter a text transformer: of each id its row of a table, plus the row of its place. A text ends at the
/// first of its largest ids (the end-of-text token of CLIP, arXiv 2103.00020, is the largest of its vocabulary); what is
/// behind is padding and becomes no row. ids [texts, T], table [vocabulary, D], positions [T, D] -> [rows, D]. No gradient
/// comes to the ids.
/// </summary>
public sealed unsafe class EmbedTokensOp : Op
{
    private readonly Tensor ids, table, positions;
    private readonly int texts, longest, width;
    private int[] words = [];

    public EmbedTokensOp(Tensor ids, Tensor table, Tensor positions) : base(ids, table, positions)
    {
        if (ids.Rank != 2 || table.Rank != 2 || positions.Rank != 2 || ids.Shape[1] < 1 || positions.Shape[0] != ids.Shape[1]
            || positions.Shape[1] != table.Shape[1])
        {
            throw new ArgumentException($"EmbedTokens: ids {ids.Shape}, table {table.Shape} and positions {positions.Shape} "
                + "must be [texts, T], [vocabulary, D] and [T, D]");
        }
        (this.ids, this.table, this.positions) = (ids, table, positions);
        (texts, longest, width) = (ids.Shape[0], ids.Shape[1], table.Shape[1]);
    }

    public override string Name => "EmbedTokens";

    /// <summary>As if every text were as long as can be.</summary>
    public override Shape Result => new(checked(texts * longest), width);

    public override Cost Cost => new(0, sizeof(float) * 2 * Result.Length);

    /// <summary>How many of a text's ids are not padding.</summary>
    public static int Length(ReadOnlySpan<float> ids) => TensorPrimitives.IndexOfMax(ids) + 1;

    /// <summary>An id as the number of its row.</summary>
    /// <exception cref="ArgumentException">It is none.</exception>
    public static int Word(float id, int vocabulary) => id >= 0 && id < vocabulary && id == (int)id ? (int)id
        : throw new ArgumentException($"EmbedTokens: the id {id} is none of a vocabulary of {vocabulary}");

    private protected override RowSet ResultRows() => RowSet.Uniform(texts, longest);

    protected override Tensor Forward()
    {
        var lengths = new int[texts];
        for (int b = 0; b < texts; b++) lengths[b] = Length(Text(b));
        RowSet rows = RowSet.FromLengths(lengths);
        words = new int[rows.Rows];
        var y = new Tensor(new Shape(rows.Rows, width)) { Rows = rows };
        for (int b = 0, row = 0; b < texts; b++)
        {
            for (int t = 0; t < lengths[b]; t++, row++)
            {
                words[row] = Word(Text(b)[t], table.Shape[0]);
                TensorPrimitives.Add(Row(table, words[row]), Row(positions, t), Row(y, row));
            }
        }
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (Wants(table)) Scatter(dy, words, table);
        if (Wants(positions)) Scatter(dy, Output.Rows!.Tokens.ToArray(), positions);
    }

    public override void Flow(ChannelFlow flow)
    {
        flow.Same(Output, 1, table, 1);
        flow.Same(Output, 1, positions, 1);
        flow.Fix(ids, 1, "they are the words of a text");
        flow.Fix(table, 0, "ids name its rows");
        flow.Fix(positions, 0, "they are the places in a text");
    }

    private static void Scatter(Tensor dy, int[] index, Tensor input)
    {
        Tensor d = GradOf(input, out bool accumulate);
        IndexedRows.Scatter(dy.Data, index, d.Data, input.Shape[0], input.Shape[1], accumulate);
    }

    private ReadOnlySpan<float> Text(int b) => new(ids.Data + (nint)b * longest, longest);

    private Span<float> Row(Tensor x, int row) => new(x.Data + (nint)row * width, width);
}

public static partial class F
{
    /// <inheritdoc cref="EmbedTokensOp"/>
    public static Tensor EmbedTokens(Tensor ids, Tensor table, Tensor positions) =>
        new EmbedTokensOp(ids, table, positions).Run();
}
