using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>What several methods refuse in the blocks of a transformer.</summary>
internal static class BlockChecks
{
    /// <summary>For methods that compute attention themselves, of queries, keys and values alone.</summary>
    /// <exception cref="EspalierException">A block has a bias or a mask in its attention.</exception>
    public static void RequirePlainAttention(TransformerBlocks blocks, string method)
    {
        foreach (TransformerBlock block in blocks.Blocks)
            if (block.Attention.Inputs.Count() > 3 || block.AttentionOp.Mask != AttentionMask.None)
                throw new EspalierException($"{method}: block {block.Index} has an attention with a bias or a mask of its own");
    }

    /// <summary>For methods under which patches behind the last block are not what they are in the network that comes out.</summary>
    /// <param name="what">The beginning of the sentence "..., and the network's head reads the patches, too".</param>
    /// <param name="instead">What to do about it; empty where nothing helps.</param>
    /// <exception cref="EspalierException">The head reads other rows than those in front.</exception>
    public static void RequireClassHead(TransformerBlocks blocks, string what, string instead = "")
    {
        if (blocks.PoolsPatches)
            throw new EspalierException($"{what}, and the network's head reads the patches, too" + (instead == "" ? "" : $"; {instead}"));
    }
}
