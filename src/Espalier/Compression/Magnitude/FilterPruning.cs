using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Scores filters by their weights alone; a group with several producers by the sum over them. Channels that a list picks from a
/// stream have no filter of their own and go by the columns that read them.
/// </summary>
public abstract class FilterPruning : ImportanceMethod
{
    private protected delegate double OfRow(ReadOnlySpan<float> row);

    private protected delegate double OfPair(ReadOnlySpan<float> row, ReadOnlySpan<float> other);

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

    private protected static double[] EachRow(Tensor weight, IReadOnlyList<int[]> entries, OfPair value)
    {
        var each = new double[weight.Shape[0]];
        for (int i = 0; i < each.Length; i++)
            for (int j = 0; j < each.Length; j++) each[i] += value(FilterWeights.Row(weight, i), FilterWeights.Row(weight, j));
        return [.. entries.Select(rows => rows.Sum(row => each[row]))];
    }

    private static IEnumerable<(Tensor Weight, IReadOnlyList<int[]> Entries)> Weights(ChannelGroup group)
    {
        GroupSlice[] makers = [.. FilterWeights.Of(group)];
        return makers.Length > 0 ? makers.Select(s => (s.Tensor, s.Entries))
            : group.Of(ChannelRole.Consumer).Where(s => s is { Axis: 1, Tensor.Rank: >= 2 })
                .Select(s => (FilterWeights.Columns(s.Tensor), s.Entries));
    }
}
