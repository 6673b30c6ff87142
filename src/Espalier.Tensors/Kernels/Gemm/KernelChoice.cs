namespace Espalier.Tensors.Kernels;

/// <summary>The kernel of one precision: its name, null where this process has none, and why, one line for people.</summary>
public readonly record struct KernelChoice(string? Name, string Reason);
