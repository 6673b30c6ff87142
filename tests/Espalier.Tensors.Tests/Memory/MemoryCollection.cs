namespace Espalier.Tensors.Tests.Memory;

/// <summary>Tests that count the process's tensor memory; no other test may run beside them.</summary>
[CollectionDefinition("memory", DisableParallelization = true)]
public sealed class MemoryCollection;
