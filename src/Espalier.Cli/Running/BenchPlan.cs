using Espalier.Benchmarking;

namespace Espalier.Cli.Running;

internal enum BenchMode
{
    /// <summary>A forward pass without gradients.</summary>
    Infer,

    /// <summary>Forward, backward and the optimiser's step.</summary>
    Train,
}

/// <summary>One line of the result: what is run, and how.</summary>
/// <param name="Variant">"dense" or "pruned".</param>
internal sealed record BenchCase(BenchMode Mode, string Variant, int Threads, int BatchSize)
{
    public bool Prunes => Variant != Dense;

    public const string Dense = "dense", Pruned = "pruned";
}

/// <summary>What `bench` is to measure.</summary>
/// <param name="Variants">As in <see cref="BenchCase.Variant"/>.</param>
internal sealed record BenchPlan(
    IReadOnlyList<BenchMode> Modes, IReadOnlyList<string> Variants, IReadOnlyList<int> Threads, IReadOnlyList<int> BatchSizes,
    Rounds Rounds)
{
    public IEnumerable<BenchCase> Cases() =>
        from mode in Modes
        from variant in Variants
        from threads in Threads
        from batch in BatchSizes
        select new BenchCase(mode, variant, threads, batch);
}
