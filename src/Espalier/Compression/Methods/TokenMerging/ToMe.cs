using System.Globalization;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Compression.Methods.TokenMerging;

/// <summary>
/// Token merging (Bolya et al., arXiv 2210.09461): between attention and MLP of every block the pairs of tokens whose keys are
/// most alike become one, their mean; how many patches a token stands for counts in later attentions. No training.
/// </summary>
public sealed record ToMe : TokenMethod
{
    private static readonly MethodSettings<ToMe> Known = new()
    {
        { "merge", m => m.Merge?.ToString(CultureInfo.InvariantCulture) ?? "target", (m, text) =>
            text == "target" ? m with { Merge = null }
            : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int r) ? m with { Merge = r } : null,
            "tokens merged away in each block (the paper's r)", "target or a whole number of at least 0", nameof(Merge) },
        { "inflection", m => m.Inflection, (m, x) => m with { Inflection = x }, -1.0, 1.0,
            "0 merges as many in each block, -1 most in the first ones and none in the last, 1 the other way about" },
        { "proportional", m => m.Proportional, (m, x) => m with { Proportional = x },
            "whether attention counts a merged token as often as it has patches" },
    };

    /// <inheritdoc/>
    public override string Name => "tome";

    /// <inheritdoc/>
    public override string Purpose => "merges tokens with like keys in every block";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses =>
        [.. base.Refuses, new(NetworkTraits.DropsTokens | NetworkTraits.HasAgents, "sizes of merged tokens would be lost where some go")];

    /// <inheritdoc/>
    public override NetworkTraits Leaves => NetworkTraits.MergesTokens;

    /// <summary>Tokens merged away in each block, the paper's r, at most half of those that may be; null for as few as the target
    /// for multiply-adds asks for.</summary>
    public int? Merge { get; init; }

    /// <summary>How the number changes from the first block to the last, see <see cref="Counts"/>.</summary>
    public double Inflection { get; init; }

    /// <summary>Whether the logarithm of a token's size is added to the scores of its key; the paper leaves it out of models that
    /// were pretrained as masked autoencoders and not fine-tuned.</summary>
    public bool Proportional { get; init; } = true;

    /// <summary>Tokens merged away in each of some blocks: a line from r(1 - f) to r(1 + f), cut to whole numbers.</summary>
    public static int[] Counts(int merge, double inflection, int blocks)
    {
        if (inflection == 0) return [.. Enumerable.Repeat(merge, blocks)];
        int first = (int)(merge * (1 - inflection));
        double step = blocks < 2 ? 0 : (2.0 * merge - 2 * first) / (blocks - 1);
        return [.. Enumerable.Range(0, blocks).Select(i => (int)(first + step * i))];
    }

    private protected override void CheckBlocks(TransformerBlocks blocks)
    {
        base.CheckBlocks(blocks);
        foreach (TransformerBlock block in blocks.Blocks)
            if (Proportional && block.Attention.Inputs.Count() > 3)
                throw new EspalierException($"tome: the attention of block {block.Index} has a bias; take Proportional = false");
        PatchPools pools = PatchPools.Of(blocks);
        if (Proportional && pools.Attention is { } pool && pool.Inputs.Count() > 3)
            throw new EspalierException($"tome: the attention '{pool.Name}' that pools has a bias; take Proportional = false");
        if (pools.Other is { } other)
            throw new EspalierException($"tome: '{other.Name}' reads the patches behind the blocks, and cannot count how many each merged "
                + "token stands for; take a method that drops tokens");
    }

    private protected override string? OwnNumber => Merge is null ? null : nameof(Merge);

    private protected override TokenMethod Fitted(Graph graph, TransformerBlocks blocks) => Merge is not null ? this
        : Mildest(graph, blocks.Tokens / 2 + 1, n => this with { Merge = n });

    private protected override void Edit(TransformerBlocks blocks)
    {
        Graph graph = blocks.Graph;
        int[] counts = Counts(Merge!.Value, Inflection, blocks.Blocks.Count);
        int prefix = blocks.PrefixTokens;
        PatchPools pools = PatchPools.Of(blocks);
        GraphValue? sizes = null;
        foreach (TransformerBlock block in blocks.Blocks)
        {
            AttentionOp attention = block.AttentionOp;
            GraphValue k = block.Attention.Operands[1]!;
            if (sizes is not null && Proportional) PatchPools.Count(graph, block.Attention, sizes);
            int tokens = block.AfterAttention.Tensor.Rows!.MaxLength, count = tokens - RowMatching.Left(tokens,
                counts[block.Index], prefix);
            if (count == 0) continue;
            GraphValue plan = graph.Add([k], t => F.MatchRows(t[0], attention.Heads, count, prefix));
            sizes ??= graph.Add([plan], t => F.Affine(t[0], 0, 1));
            graph.InsertAfter(block.AfterAttention, [plan, sizes], t => F.MergeRows(t[0], t[1], count, prefix, weights: t[2]));
            sizes = graph.Add([sizes, plan], t => F.MergeRows(t[0], t[1], count, prefix, mean: false));
        }
        if (sizes is null) return;
        foreach (GraphNode mean in pools.Means) PatchPools.Weigh(graph, mean, sizes);
        if (Proportional && pools.Attention is { } pool) PatchPools.Count(graph, pool, sizes);
    }
}
