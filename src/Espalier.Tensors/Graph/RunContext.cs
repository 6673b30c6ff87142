namespace Espalier.Tensors;

/// <summary>What a run of a graph tells its ops.</summary>
/// <param name="Training">Whether dropout drops and batch norms use the batch's statistics and note them.</param>
/// <param name="Keep">What <see cref="KeepRowsOp"/> keeps, in place of each op's own rule; null for that.</param>
/// <param name="Still">Running statistics that stay as they are in training too: batch norms with these normalise by them. Null for
/// none.</param>
public readonly record struct RunContext(bool Training = false, KeepRule? Keep = null, IReadOnlySet<Tensor>? Still = null);
