using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.Magnitude;

/// <summary>Removes the filters with the smallest absolute sum (Li et al., arXiv 1608.08710).</summary>
public sealed record L1Norm : FilterPruning
{
    /// <inheritdoc/>
    public override string Name => "l1";

    /// <inheritdoc/>
    public override string Purpose => "removes the filters with the smallest sum of absolute weights";

    private protected override double[] Of(Tensor weight, IReadOnlyList<int[]> entries) => EachRow(weight, entries, row =>
        TensorPrimitives.SumOfMagnitudes(row));
}

/// <summary>Removes the filters with the smallest Euclidean norm.</summary>
public sealed record L2Norm : FilterPruning
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
public sealed record Fpgm : FilterPruning
{
    /// <inheritdoc/>
    public override string Name => "fpgm";

    /// <inheritdoc/>
    public override string Purpose => "removes the filters nearest to their layer's geometric median";

    private protected override double[] Of(Tensor weight, IReadOnlyList<int[]> entries)
    {
        var far = new double[weight.Shape[0]];
        for (int i = 0; i < far.Length; i++)
        {
            for (int j = 0; j < far.Length; j++)
                far[i] += TensorPrimitives.Distance(FilterWeights.Row(weight, i), FilterWeights.Row(weight, j));
        }
        return [.. entries.Select(rows => rows.Sum(row => far[row]))];
    }
}

/// <summary>
/// Removes the channels with the smallest batch norm scales |gamma|: Network Slimming (Liu et al., arXiv 1708.06519) without the
/// training that makes scales small.
/// </summary>
public sealed record BnScale : WeightScores
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
public sealed record RandomFilters : WeightScores
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

/// <summary>Scores channels without looking at any image.</summary>
public abstract record WeightScores : ImportanceMethod
{
    /// <inheritdoc/>
    public sealed override bool NeedsLabels => false;

    /// <inheritdoc/>
    public sealed override bool NeedsImages => false;
}

/// <summary>
/// Scores filters by their weights alone; a group with several producers by the sum over them. Channels that a list picks from a
/// stream have no filter of their own and go by the columns that read them.
/// </summary>
public abstract record FilterPruning : WeightScores
{
    private protected delegate double OfRow(ReadOnlySpan<float> row);

    /// <inheritdoc/>
    public sealed override ChannelScores Score(CompressionJob job, DependencyGraph graph, IReadOnlyList<ChannelGroup> groups)
    {
        using var scope = new Scope();
        var scores = new ChannelScores();
        foreach (ChannelGroup group in groups)
        {
            var sum = new double[group.Count];
            foreach (var (weight, entries) in Weights(group))
            {
                double[] one = Of(weight, entries);
                for (int k = 0; k < sum.Length; k++) sum[k] += one[k];
            }
            scores.Set(group, sum);
        }
        return scores.Normalised();
    }

    /// <summary>The importance of each channel by one weight [outputs, ...].</summary>
    private protected abstract double[] Of(Tensor weight, IReadOnlyList<int[]> entries);

    private protected static double[] EachRow(Tensor weight, IReadOnlyList<int[]> entries, OfRow value) =>
        [.. entries.Select(rows => rows.Sum(row => value(FilterWeights.Row(weight, row))))];

    private static IEnumerable<(Tensor Weight, IReadOnlyList<int[]> Entries)> Weights(ChannelGroup group)
    {
        GroupSlice[] makers = [.. FilterWeights.Of(group)];
        return makers.Length > 0 ? makers.Select(s => (s.Tensor, s.Entries))
            : group.Of(ChannelRole.Consumer).Where(s => s is { Axis: 1, Tensor.Rank: >= 2 })
                .Select(s => (FilterWeights.Columns(s.Tensor), s.Entries));
    }
}
