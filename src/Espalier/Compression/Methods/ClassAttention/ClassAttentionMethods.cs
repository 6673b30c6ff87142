using Espalier.Tensors;

namespace Espalier.Compression.Methods.ClassAttention;

/// <summary>
/// Keeps the tokens that the class token attends to most and puts the others together in one, their sum with the attention as
/// weights (Liang et al., arXiv 2202.07800, section 3). Published with training; it runs on trained weights as they are.
/// </summary>
public sealed record Evit : ByClassAttention
{
    private static readonly MethodSettings<Evit> Known = Fusing();

    /// <inheritdoc/>
    public override string Name => "evit";

    /// <inheritdoc/>
    public override string Purpose => "keeps the tokens that the class token attends to most, and fuses the others into one";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <summary>Whether dropped tokens leave one that is their weighted sum.</summary>
    public bool Fuse { get; init; } = true;

    private protected override bool Fuses => Fuse;

    private static MethodSettings<Evit> Fusing()
    {
        MethodSettings<Evit> settings = Stages<Evit>();
        settings.Add("fuse", m => m.Fuse, (m, x) =>
            m with { Fuse = x }, "whether dropped tokens leave one that is their weighted sum");
        return settings;
    }
}

/// <summary>Keeps the tokens that the class token attends to most: the simplest ranking, and a bar for all others.</summary>
public sealed record ClassTopK : ByClassAttention
{
    private static readonly MethodSettings<ClassTopK> Known = Stages<ClassTopK>();

    /// <inheritdoc/>
    public override string Name => "topk";

    /// <inheritdoc/>
    public override string Purpose => "keeps the tokens that the class token attends to most";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    private protected override bool Fuses => false;
}

/// <summary>Ranks tokens by the attention of the class token, the mean over the heads.</summary>
public abstract record ByClassAttention : TokenStages
{
    private protected abstract bool Fuses { get; }

    private protected sealed override void CheckBlocks(TransformerBlocks blocks)
    {
        base.CheckBlocks(blocks);
        CheckClassToken(blocks);
        BlockChecks.RequirePlainAttention(blocks, Name);
    }

    private protected sealed override void Drop(TransformerBlocks blocks, TransformerBlock block)
    {
        AttentionOp attention = block.AttentionOp;
        GraphValue q = block.Attention.Operands[0]!, k = block.Attention.Operands[1]!;
        blocks.Graph.InsertAfter(block.AfterAttention, [q, k], t => F.KeepRows(t[0],
            F.ClassAttention(F.TakeRows(t[1], 0), t[2], attention.Heads, attention.Scale), KeepRule.Share(Keep!.Value),
            blocks.PrefixTokens, Fuses));
    }
}
