using Espalier.Tensors;

namespace Espalier.Compression.Methods.RandomTokens;

/// <summary>
/// Keeps tokens by chance, the same places of every image at each stage, out of those of the stage before: what every ranking of
/// tokens must beat.
/// </summary>
public sealed record RandomTokens : TokenStages
{
    private static readonly MethodSettings<RandomTokens> Known =
        Stages<RandomTokens>((m, x) => m with { Keep = x }, (m, x) => m with { Blocks = x });

    /// <inheritdoc/>
    public override string Name => "random-tokens";

    /// <inheritdoc/>
    public override string Purpose => "keeps tokens by chance, the baseline of all rankings of tokens";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override double? Keep { get; init; }

    /// <inheritdoc/>
    public override IReadOnlyList<int>? Blocks { get; init; }

    private protected override void Drop(TransformerBlocks blocks, TransformerBlock block)
    {
        RowSet rows = block.AfterAttention.Tensor.Rows!;
        int[] tokens = [.. rows.Tokens[rows[0]..rows[1]].ToArray().Where(t => t >= blocks.PrefixTokens)];
        var rng = new Rng(Seed, key0: 9, key1: (ulong)block.Index);
        for (int i = tokens.Length - 1; i > 0; i--)
        {
            int other = rng.NextInt(i + 1);
            (tokens[i], tokens[other]) = (tokens[other], tokens[i]);
        }
        KeepRule stay = KeepRule.Tokens(tokens[..KeepRule.Share(Keep!.Value).Kept(tokens.Length)].Order());
        // A list does not look at the scores.
        blocks.Graph.InsertAfter(block.AfterAttention, x => F.KeepRows(x, F.Sum(x, 1), stay, blocks.PrefixTokens));
    }
}
