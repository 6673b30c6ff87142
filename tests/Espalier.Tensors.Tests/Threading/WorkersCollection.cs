namespace Espalier.Tensors.Tests.Threading;

/// <summary>Tests that set the process-wide number of threads, or need the pool to themselves, run alone.</summary>
[CollectionDefinition("Workers", DisableParallelization = true)]
public sealed class WorkersCollection;
