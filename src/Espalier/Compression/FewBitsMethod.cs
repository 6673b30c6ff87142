namespace Espalier.Compression;

/// <summary>Trains a network for weights or values of few bits: nothing is removed, and shapes stay.</summary>
public abstract record FewBitsMethod : CompressionMethod
{
    /// <inheritdoc/>
    public sealed override bool TrainsFirst => true;

    /// <inheritdoc/>
    public sealed override bool Removes => false;

    /// <inheritdoc/>
    public sealed override bool TakesTarget => false;

    /// <inheritdoc/>
    public sealed override IReadOnlyList<Refusal> Refuses => [CompressionOrder.FewBits];
}
