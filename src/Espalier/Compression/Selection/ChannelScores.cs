namespace Espalier.Compression;

/// <summary>How important each channel of each group is; the least important go first.</summary>
public sealed class ChannelScores
{
    private readonly Dictionary<ChannelGroup, double[]> scores = [];
    private readonly Dictionary<ChannelGroup, HashSet<int>> staying = [];

    /// <summary>The groups that have scores, in the order in which they were given.</summary>
    public IReadOnlyDictionary<ChannelGroup, double[]> Groups => scores;

    /// <summary>Sets the scores of a group, one a channel.</summary>
    /// <param name="stays">Channels that stay in any case, such as one of each head.</param>
    public ChannelScores Set(ChannelGroup group, double[] importance, IEnumerable<int>? stays = null)
    {
        if (importance.Length != group.Count)
            throw new ArgumentException($"{importance.Length} scores for the {group.Count} channels of '{group.Name}'");
        (scores[group], staying[group]) = (importance, [.. stays ?? []]);
        return this;
    }

    /// <summary>All channels of a group, the least important first; those that stay in any case are the last.</summary>
    internal int[] InOrder(ChannelGroup group) => [.. Enumerable.Range(0, group.Count)
        .OrderBy(k => staying[group].Contains(k)).ThenBy(k => scores[group][k]).ThenBy(k => k)];

    /// <summary>How many channels of a group stay in any case.</summary>
    internal int Staying(ChannelGroup group) => staying[group].Count;

    /// <summary>Divides each group's scores by their Euclidean norm, so that layers compare; zeros stay zeros.</summary>
    public ChannelScores Normalised()
    {
        var result = new ChannelScores();
        foreach (var (group, values) in scores)
        {
            double norm = Math.Sqrt(values.Sum(v => v * v));
            result.Set(group, norm > 0 ? [.. values.Select(v => v / norm)] : values, staying[group]);
        }
        return result;
    }
}
