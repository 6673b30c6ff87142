using System.Globalization;
using Espalier.Benchmarking;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

internal enum BenchMode
{
    /// <summary>A forward pass without gradients.</summary>
    Infer,

    /// <summary>Forward, backward and the optimiser's step.</summary>
    Train,
}

/// <summary>What a pass does with the tokens.</summary>
/// <param name="Name">For people and files.</param>
/// <param name="Share">Of its tokens that each agent keeps; null where the threshold decides, or nothing is dropped.</param>
internal sealed record BenchVariant(string Name, bool Prunes, double? Share = null)
{
    /// <summary>Every token stays.</summary>
    public static BenchVariant Dense { get; } = new("dense", Prunes: false);

    /// <summary>Agents drop by their threshold.</summary>
    public static BenchVariant Pruned { get; } = new("pruned", Prunes: true);

    /// <summary>Every agent keeps this share.</summary>
    public static BenchVariant Keep(double share) =>
        new(string.Create(CultureInfo.InvariantCulture, $"keep-{share}"), Prunes: true, share);

    /// <param name="own">What the agents drop by their threshold.</param>
    public Pruning Rule(Pruning own) => !Prunes ? Pruning.None : Share is { } share ? Pruning.KeepShare(share) : own;
}

/// <summary>One line of the result: what is run, and how.</summary>
/// <param name="Checkpoints">Whether a training step keeps only a part of the activations and computes the rest again.</param>
internal sealed record BenchCase(
    BenchMode Mode, BenchVariant Variant, Precision Precision, int Threads, int BatchSize, bool Checkpoints = false)
{
    /// <summary>For people and files.</summary>
    public string Name => Checkpoints ? $"{Variant.Name}-checkpointed" : Variant.Name;

    /// <summary>The forward pass that a training step of the same size is held against.</summary>
    public BenchCase Forward => this with { Mode = BenchMode.Infer, Variant = BenchVariant.Dense, Checkpoints = false };
}

/// <summary>What `bench` is to measure.</summary>
internal sealed record BenchPlan(IReadOnlyList<BenchMode> Modes, IReadOnlyList<BenchVariant> Variants,
    IReadOnlyList<Precision> Precisions, IReadOnlyList<int> Threads, IReadOnlyList<int> BatchSizes, Rounds Rounds)
{
    /// <summary>Whether training steps are measured with checkpointed activations, too.</summary>
    public bool Checkpoints { get; init; }

    /// <summary>All combinations; training is in fp32 only, and knows no fixed share of tokens.</summary>
    public IEnumerable<BenchCase> Cases() =>
        from mode in Modes
        from variant in Variants
        from precision in Precisions
        from threads in Threads
        from batch in BatchSizes
        where mode == BenchMode.Infer || (precision == Precision.Fp32 && variant.Share is null)
        from checkpoints in Checkpoints && mode == BenchMode.Train ? [false, true] : new[] { false }
        select new BenchCase(mode, variant, precision, threads, batch, checkpoints);
}
