using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>Tokens by their numbers, the same of every image.</summary>
internal static class TokenList
{
    /// <summary>The tokens that a value of token rows has.</summary>
    public static int[] Of(GraphValue value)
    {
        RowSet rows = value.Tensor.Rows!;
        return rows.Tokens[..rows.Length(0)].ToArray();
    }

    /// <summary>The rows of those in front and of a list of others.</summary>
    /// <param name="tokens">Rising, behind the <paramref name="prefix"/> in front.</param>
    public static Tensor Keep(Tensor x, IReadOnlyList<int> tokens, int prefix) => tokens.Count == 0 ? F.TakeRows(x, 0, prefix)
        // A list does not look at the scores.
        : F.KeepRows(x, F.Sum(x, 1), KeepRule.Tokens(tokens), prefix);
}
