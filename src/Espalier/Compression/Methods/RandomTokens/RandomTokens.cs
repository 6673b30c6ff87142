using Espalier.Tensors;

namespace Espalier.Compression.Methods.RandomTokens;

/// <summary>
/// Keeps tokens by chance, the same places of every image at each stage, out of those of the stage before: what every ranking of
/// tokens must beat.
/// </summary>
public sealed record RandomTokens : TokenStages
{
    private static readonly MethodSettings<RandomTokens> Known = Stages<RandomTokens>();

    /// <inheritdoc/>
    public override string Name => "random-tokens";

    /// <inheritdoc/>
    public override string Purpose => "keeps tokens by chance, the baseline of all rankings of tokens";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses => [.. base.Refuses, new(NetworkTraits.RanksTokens,
        "it draws the same tokens of every image, and which are left differs from image to image")];

    /// <inheritdoc/>
    public override NetworkTraits Leaves => NetworkTraits.DropsTokens;

    private protected override void CheckBlocks(TransformerBlocks blocks)
    {
        base.CheckBlocks(blocks);
        // Agents may have been given such a rule.
        if (blocks.Blocks.Any(b => b.AfterAttention.Tensor.Rows is { KnowsTokens: false }))
            throw new EspalierException($"{Name}: the network keeps a number of tokens, others of each image, and {Name} draws the same of "
                + "every image; give its agents a threshold");
    }

    private protected override void Drop(TransformerBlocks blocks, TransformerBlock block)
    {
        int[] tokens = [.. TokenList.Of(block.AfterAttention).Where(t => t >= blocks.PrefixTokens)];
        var rng = new Rng(Seed, key0: 9, key1: (ulong)block.Index);
        for (int i = tokens.Length - 1; i > 0; i--)
        {
            int other = rng.NextInt(i + 1);
            (tokens[i], tokens[other]) = (tokens[other], tokens[i]);
        }
        int[] stay = [.. tokens[..KeepRule.Share(Keep!.Value).Kept(tokens.Length)].Order()];
        blocks.Graph.InsertAfter(block.AfterAttention, x => TokenList.Keep(x, stay, blocks.PrefixTokens));
    }
}
