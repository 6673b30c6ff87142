using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>A packed batch of tokens: <paramref name="Rows"/> [rows of all images, D], image b owning those of <paramref name="Offsets"/>.</summary>
public readonly record struct TokenRows(Tensor Rows, RowSet Offsets)
{
    public int Images => Offsets.Images;

    /// <summary>Rows of the class tokens: the first of each image.</summary>
    public int[] ClassRows() => Offsets.Starts[..^1].ToArray();

    /// <summary>The first <paramref name="count"/> rows of each image.</summary>
    public int[] PrefixRows(int count)
    {
        var rows = new int[Images * count];
        for (int i = 0; i < rows.Length; i++) rows[i] = Offsets[i / count] + i % count;
        return rows;
    }

    /// <summary>The rows of <paramref name="index"/>, which must be sorted and leave image b <paramref name="lengths"/>[b] of them.</summary>
    public TokenRows Keep(int[] index, int[] lengths) =>
        new(F.GatherRows(Rows, index), RowSet.FromLengths(lengths));

    /// <summary>The images of both batches in one.</summary>
    public static TokenRows Concat(TokenRows first, TokenRows second) =>
        new(F.Concat(0, first.Rows, second.Rows), RowSet.Concat(first.Offsets, second.Offsets));
}
