using Espalier.Tensors;

namespace Espalier.Compression.Methods.AdaptiveSampling;

/// <summary>
/// Samples the tokens of each image by the class token's attention times the length of their values (Fayyaz et al., arXiv
/// 2111.15667): where few tokens have most of it, few stay. How many that are depends on the image; Count is the most. No
/// parameters, no training.
/// </summary>
public sealed record Ats : TokenMethod
{
    private static readonly MethodSettings<Ats> Known = new()
    {
        { "count", m => m.Count, (m, x) =>
            m with { Count = x }, 2, 1 << 20, "tokens that stay at most, the class token and others in front among them" },
        { "blocks", m => m.Blocks is null ? "usual"
            : string.Join('+', m.Blocks), (m, text) => text == "usual" ? m with { Blocks = null }
            : BlockList.Parse(text) is { } list ? m with { Blocks = list } : null,
            "blocks, from 0, in whose attention tokens are dropped", "usual or rising numbers with + between, such as 3+4+5",
            nameof(Blocks) },
    };

    /// <inheritdoc/>
    public override string Name => "ats";

    /// <inheritdoc/>
    public override string Purpose => "samples as many tokens of each image as its class attention is spread over";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override NetworkTraits Leaves => NetworkTraits.DropsTokens | NetworkTraits.FewerQueries;

    /// <summary>Tokens that stay at most, those in front among them.</summary>
    public int Count { get; init; } = 197;

    /// <summary>In which attentions tokens are dropped, by the number of the block from 0, rising; null for all behind the first
    /// quarter, which are 3 to 11 of 12.</summary>
    public IReadOnlyList<int>? Blocks { get; init; }

    private protected override void CheckBlocks(TransformerBlocks blocks)
    {
        base.CheckBlocks(blocks);
        CheckClassToken(blocks);
        BlockChecks.RequirePlainAttention(blocks, Name);
        FewerQueries.Check(blocks, Name);
        if (Count <= blocks.PrefixTokens)
            throw new EspalierException($"{Name}: Count is {Count}, and the {blocks.PrefixTokens} tokens in front always stay; "
                + $"take at least {blocks.PrefixTokens + 1}");
    }

    /// <summary>Images decide how many tokens stay, which no target knows.</summary>
    private protected override string OwnNumber => nameof(Count);

    private protected override TokenMethod Fitted(Graph graph, TransformerBlocks blocks) => this;

    private protected override void Edit(TransformerBlocks blocks)
    {
        int first = blocks.Blocks.Count / 4;
        IReadOnlyList<int> all = BlockList.Of(Blocks ?? [.. Enumerable.Range(first, blocks.Blocks.Count - first)], blocks, Name,
            []);
        foreach (int index in all) Drop(blocks, blocks.Blocks[index]);
    }

    private void Drop(TransformerBlocks blocks, TransformerBlock block)
    {
        AttentionOp attention = block.AttentionOp;
        GraphValue normed = block.AttentionNorm.Output, k = block.Attention.Operands[1]!, v = block.Attention.Operands[2]!;
        FewerQueries.Insert(blocks.Graph, block, [normed, k, v], t =>
        {
            Tensor asking = FewerQueries.Again(block.Query, F.TakeRows(t[1], 0));
            Tensor shares = F.ClassAttention(asking, t[2], attention.Heads, attention.Scale);
            Tensor sampled = F.SampleRows(F.Mul(shares, F.RowNorm(t[3])), Count, blocks.PrefixTokens);
            return F.KeepRows(t[0], sampled, KeepRule.AtLeast(0.5f), blocks.PrefixTokens);
        });
    }
}
