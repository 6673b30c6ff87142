using System.Collections.Concurrent;
using Espalier.Compression.Apt;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// Multiply-adds of a vision transformer on one image, as the literature counts its "FLOPs": matrix products and convolutions,
/// nothing else.
/// </summary>
public static class VitCost
{
    private static readonly ConcurrentDictionary<(VitStem, int, int), long> StemCosts = new();

    /// <summary>One block on n tokens: 4 n D² + 2 n² D + 2 n D M.</summary>
    public static long Block(VitConfig c, int tokens)
    {
        long n = tokens, d = c.HiddenSize;
        return 4 * n * d * d + 2 * n * n * d + 2 * n * d * c.MlpDim;
    }

    /// <summary>The stem, if any, and the projection of the patches.</summary>
    public static long Embedding(VitConfig c) =>
        Stem(c) + (long)c.Grid * c.Grid * c.PatchChannels * c.PatchSize * c.PatchSize * c.HiddenSize;

    public static long Head(VitConfig c) => (long)c.PrefixTokens * c.HiddenSize * c.NumClasses;

    /// <summary>The whole model with every token kept.</summary>
    public static long Dense(VitConfig c) => Embedding(c) + c.NumLayers * Block(c, c.Tokens) + Head(c);

    /// <summary>One image in a pass pruned by APT's agents, which are counted too.</summary>
    /// <param name="agentLayers">Blocks (0-based) after which an agent acts.</param>
    /// <param name="tokens">Tokens that enter block 0, then those left after each agent; one entry where none was asked.</param>
    public static long Pruned(VitConfig c, IReadOnlyList<int> agentLayers, ReadOnlySpan<int> tokens)
    {
        long sum = Embedding(c) + Head(c);
        int stage = 0;
        for (int i = 0; i < c.NumLayers; i++)
        {
            sum += Block(c, tokens[stage]);
            if (stage + 1 >= tokens.Length || agentLayers[stage] != i) continue;
            sum += AptAgent.MultiplyAdds(c.HiddenSize, tokens[stage]);
            stage++;
        }
        return sum;
    }

    /// <summary>Number of parameters of a model of this shape.</summary>
    public static long Parameters(VitConfig c)
    {
        long d = c.HiddenSize, m = c.MlpDim;
        long block = 4 * (d * d + d) + 2 * d * m + m + d + 4 * d;
        long patches = (long)c.PatchChannels * c.PatchSize * c.PatchSize * d + d;
        long heads = c.PrefixTokens * (d * c.NumClasses + c.NumClasses);
        return StemParameters(c) + patches + (c.Tokens + c.PrefixTokens) * d + c.NumLayers * block + 2 * d + heads;
    }

    // The 7 x 7 convolution in front is the only part of the R50 stem that knows the image's channels.
    private static long StemParameters(VitConfig c) => c.Stem == VitStem.Patches ? 0 : 11_885_440 + 7 * 7 * 64L * c.Channels;

    private static long Stem(VitConfig c) => c.Stem == VitStem.Patches ? 0 : StemCosts.GetOrAdd((c.Stem, c.Channels, c.ImageSize), _ =>
    {
        using var scope = new Scope();
        var rng = new Rng(0);
        using var stem = new HybridStem(HybridStemVariant.Google, c.Channels, ref rng);
        using var recording = new Recording(gradients: false);
        stem.Forward(Tensor.Zeros(new Shape(1, c.Channels, c.ImageSize, c.ImageSize)));
        return recording.Cost.MultiplyAdds;
    });
}
