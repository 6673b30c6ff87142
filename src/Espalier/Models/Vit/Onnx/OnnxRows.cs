namespace Espalier.Models.Onnx;

/// <summary>Tokens of a graph's images: a value [images · tokens, D].</summary>
/// <param name="Name">The value's name.</param>
/// <param name="Tokens">Tokens an image, or -1 for one image whose number of tokens the graph finds when it runs.</param>
internal readonly record struct OnnxRows(string Name, long Tokens)
{
    /// <summary>The shape [images, tokens, rest...] for a Reshape.</summary>
    public long[] Split(params ReadOnlySpan<long> rest) => Tokens < 0 ? [1, -1, .. rest] : [-1, Tokens, .. rest];
}
