namespace Espalier.Compression.Methods.LowRank;

/// <summary>Makes two thinner layers of one.</summary>
public abstract record SplitMethod : CompressionMethod
{
    /// <summary>Layers are split, and no channel goes that others read.</summary>
    public sealed override bool Recovers => false;

    /// <inheritdoc/>
    public sealed override IReadOnlyList<Refusal> Refuses => [CompressionOrder.FewBits];
}
