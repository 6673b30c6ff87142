namespace Espalier.Tensors;

/// <summary>What a run of a graph tells its ops.</summary>
/// <param name="Training">Whether dropout drops and batch norms use the batch's statistics and note them.</param>
/// <param name="Keep">What <see cref="KeepRowsOp"/> keeps, in place of each op's own rule; null for that.</param>
/// <param name="Still">Running statistics that stay as they are in training too: batch norms with these normalise by them. Null for
/// none.</param>
public readonly record struct RunContext(bool Training = false, KeepRule? Keep = null, IReadOnlySet<Tensor>? Still = null)
{
    /// <summary>Whether a recorded run keeps only what passes from one section of the graph to the next, and the backward pass
    /// computes the rest of each section again: see <see cref="Graph.ActivationMemory"/>.</summary>
    public bool CheckpointActivations { get; init; }

    /// <summary>Replaces numbers by their sums over all processes that run the same graph on their own images: batch norms then
    /// take the statistics of all images. Null where each takes those of its own.</summary>
    public Action<double[]>? SumOverRanks { get; init; }

    /// <summary>Whether another graph goes on with the results, so that the last section has to be computed again, too.</summary>
    internal bool GoesOn { get; init; }

    /// <summary>Whether the same has run before: what an op notes for later, it has noted then.</summary>
    internal bool Again { get; init; }
}
