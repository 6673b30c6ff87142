using System.Runtime.CompilerServices;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

/// <summary>Removes the filters with the smallest absolute sum (Li et al., arXiv 1608.08710).</summary>
public sealed class L1Pruning : FilterPruning
{
    /// <inheritdoc/>
    public override string Name => "l1";

    /// <inheritdoc/>
    public override string Purpose => "removes the filters with the smallest sum of absolute weights";

    private protected override double[] Of(Tensor weight, IReadOnlyList<int[]> entries) => EachRow(weight, entries, row =>
        TensorPrimitives.SumOfMagnitudes(row));
}

/// <summary>Removes the filters with the smallest Euclidean norm.</summary>
public sealed class L2Pruning : FilterPruning
{
    /// <inheritdoc/>
    public override string Name => "l2";

    /// <inheritdoc/>
    public override string Purpose => "removes the filters with the smallest Euclidean norm";

    private protected override double[] Of(Tensor weight, IReadOnlyList<int[]> entries) => EachRow(weight, entries, row =>
        TensorPrimitives.Norm(row));
}

/// <summary>
/// Removes the filters nearest to the geometric median of their layer, which the others can stand in for: those with the smallest
/// sum of distances to all filters (He et al., arXiv 1811.00250, eq. 7).
/// </summary>
public sealed class FpgmPruning : FilterPruning
{
    /// <inheritdoc/>
    public override string Name => "fpgm";

    /// <inheritdoc/>
    public override string Purpose => "removes the filters nearest to their layer's geometric median";

    private protected override double[] Of(Tensor weight, IReadOnlyList<int[]> entries) => EachRow(weight, entries, (row, other) =>
        TensorPrimitives.Distance(row, other));
}

/// <summary>
/// Removes the channels with the smallest batch norm scales |gamma|: Network Slimming (Liu et al., arXiv 1708.06519) without the
/// training that makes scales small.
/// </summary>
public sealed class BnScalePruning : ImportanceMethod
{
    /// <inheritdoc/>
    public override string Name => "bn-scale";

    /// <inheritdoc/>
    public override string Purpose => "removes the channels with the smallest batch norm scales, without training for it";

    /// <inheritdoc/>
    public override ChannelScores Score(CompressionJob job, DependencyGraph graph, IReadOnlyList<ChannelGroup> groups) =>
        ScaleScores.Of(graph, groups);
}

/// <summary>Removes filters by chance: what every method must beat.</summary>
public sealed class RandomPruning : ImportanceMethod
{
    /// <inheritdoc/>
    public override string Name => "random";

    /// <inheritdoc/>
    public override string Purpose => "removes filters by chance, the baseline of all others";

    /// <inheritdoc/>
    public override ChannelScores Score(CompressionJob job, DependencyGraph graph, IReadOnlyList<ChannelGroup> groups)
    {
        var rng = new Rng(job.Options.Seed, key0: 7, key1: (ulong)job.Removals.Count);
        var scores = new ChannelScores();
        foreach (ChannelGroup group in groups) scores.Set(group, [.. Enumerable.Range(0, group.Count).Select(_ => rng.NextDouble())]);
        return scores;
    }
}

internal static class MagnitudeRegistration
{
    [ModuleInitializer]
    internal static void Register()
    {
        foreach (ICompressionMethod method in (ICompressionMethod[])[new L1Pruning(), new L2Pruning(), new FpgmPruning(),
            new BnScalePruning(), new RandomPruning()])
            CompressionMethods.Add(method);
    }
}
