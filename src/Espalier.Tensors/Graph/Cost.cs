namespace Espalier.Tensors;

/// <summary>
/// What an op's forward pass costs. <paramref name="MultiplyAdds"/> counts matrix-product and convolution work only, as the
/// literature's "FLOPs" of vision models do; <paramref name="Bytes"/> are those read and written, each operand once.
/// </summary>
public readonly record struct Cost(long MultiplyAdds, long Bytes)
{
    public static Cost operator +(Cost a, Cost b) => new(a.MultiplyAdds + b.MultiplyAdds, a.Bytes + b.Bytes);
}
