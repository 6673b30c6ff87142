namespace Espalier.Compression;

/// <summary>How important each channel of each group is; the least important go first.</summary>
public sealed class ChannelScores
{
    private readonly Dictionary<ChannelGroup, double[]> scores = [];

    /// <summary>The groups that have scores, in the order in which they were given.</summary>
    public IReadOnlyDictionary<ChannelGroup, double[]> Groups => scores;

    /// <summary>Sets the scores of a group, one a channel.</summary>
    public ChannelScores Set(ChannelGroup group, double[] importance)
    {
        if (importance.Length != group.Count)
            throw new ArgumentException($"{importance.Length} scores for the {group.Count} channels of '{group.Name}'");
        scores[group] = importance;
        return this;
    }

    /// <summary>Divides each group's scores by their Euclidean norm, so that layers compare; zeros stay zeros.</summary>
    public ChannelScores Normalised()
    {
        var result = new ChannelScores();
        foreach (var (group, values) in scores)
        {
            double norm = Math.Sqrt(values.Sum(v => v * v));
            result.Set(group, norm > 0 ? [.. values.Select(v => v / norm)] : values);
        }
        return result;
    }
}
