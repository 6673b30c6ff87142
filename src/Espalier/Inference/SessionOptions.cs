using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>How a <see cref="Session"/> computes.</summary>
public sealed record SessionOptions
{
    /// <summary>Of the linear layers on tokens, which are nearly all of a transformer's work. Patch projection, what decides on
    /// tokens, classifier, attention, norms and residuals stay in float32: they cost little and errors there count most.
    /// Networks without such layers know float32 only.</summary>
    public Precision Precision { get; init; } = Precision.Fp32;

    /// <summary>Which tokens are dropped; null for what the model says.</summary>
    public Pruning? Pruning { get; init; }

    /// <summary>Whether calls try now and then how the work is best spread over threads. Else one way is taken by the sizes of
    /// network and call: for those who make a session for a few calls and time them.</summary>
    public bool TriesThreads { get; init; } = true;
}
