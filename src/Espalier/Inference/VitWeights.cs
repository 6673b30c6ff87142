using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>All weights of a vision transformer and its agents, packed for inference.</summary>
internal sealed class VitWeights : IDisposable
{
    /// <summary>[T, D]: what is added to each token's row. For a patch the position and the projection's bias, for a prefix
    /// token, which no projection makes, the whole row.</summary>
    public required Tensor Table { get; init; }

    /// <summary>Patches [n, C p p] -> [n, D].</summary>
    public required PackedLinear Patches { get; init; }

    /// <summary>In front of the patches of a hybrid; else null.</summary>
    public required HybridStem? Stem { get; init; }

    public required BlockWeights[] Blocks { get; init; }

    /// <summary>[blocks] the agent after each block, null where there is none.</summary>
    public required AgentWeights?[] AgentAfter { get; init; }

    public required NormWeights Norm { get; init; }

    public required PackedLayer Head { get; init; }

    /// <summary>DeiT's head on the distillation token.</summary>
    public required PackedLayer? DistillationHead { get; init; }

    public required VitConfig Config { get; init; }

    /// <summary>Whether the last block is computed for the prefix rows only: nothing reads its other rows.</summary>
    public bool NarrowEnd => Blocks[^1].Query is not null;

    /// <summary>Bytes of the packed matrices.</summary>
    public long Bytes => Patches.Bytes + Blocks.Sum(b => b.Bytes) + Head.Bytes + (DistillationHead?.Bytes ?? 0)
        + AgentAfter.Sum(a => a?.Bytes ?? 0);

    public void Dispose()
    {
        Table.Dispose();
        Patches.Dispose();
        Stem?.Dispose();
        foreach (BlockWeights block in Blocks) block.Dispose();
        foreach (AgentWeights? agent in AgentAfter) agent?.Dispose();
        Norm.Dispose();
        Head.Dispose();
        DistillationHead?.Dispose();
    }
}
