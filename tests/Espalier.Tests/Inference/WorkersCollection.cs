namespace Espalier.Tests.Inference;

/// <summary>Tests that set the process-wide number of threads run alone.</summary>
[CollectionDefinition("Workers", DisableParallelization = true)]
public sealed class WorkersCollection;
