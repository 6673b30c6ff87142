using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>How a <see cref="VitSession"/> computes; a <see cref="CnnSession"/> takes the defaults only.</summary>
public sealed record SessionOptions
{
    /// <summary>Of the products in the blocks, which are nearly all of the work. Patch projection, agents, classifier,
    /// attention, norms and residuals stay in float32: they cost little and errors there count most.</summary>
    public Precision Precision { get; init; } = Precision.Fp32;

    /// <summary>What the agents drop; null for the model's own threshold, or nothing where it has no agents.</summary>
    public Pruning? Pruning { get; init; }
}
