using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Channels scored by the batch norm scales (gamma) that they go through: their own, or, where a list picks channels from a shared
/// stream behind a norm, those of the norm at the places that the list names.
/// </summary>
public static class ScaleScores
{
    /// <summary>
    /// |gamma| of each channel, the mean where it goes through several norms; groups that go through none have no scores. Runs the
    /// network once to see which norm each list reads.
    /// </summary>
    /// <exception cref="EspalierException">None of the groups goes through a batch norm.</exception>
    public static ChannelScores Of(DependencyGraph graph, IReadOnlyList<ChannelGroup> groups)
    {
        Dictionary<Tensor, Tensor> picked = NormsOfLists(graph);
        var scores = new ChannelScores();
        foreach (ChannelGroup group in groups)
        {
            (Tensor Gamma, IReadOnlyList<int[]> Entries)[] scales = [.. Scales(group, picked)];
            if (scales.Length == 0) continue;
            scores.Set(group, [.. Enumerable.Range(0, group.Count).Select(k =>
                scales.Average(s => s.Entries[k].Average(e => (double)Math.Abs(s.Gamma.Span[e]))))]);
        }
        return scores.Groups.Count > 0 ? scores : throw new EspalierException(
            "none of the layers that may lose channels has a batch norm, whose scales this method goes by");
    }

    /// <summary>Makes the scales of channels that go zero, in the network itself.</summary>
    internal static void Silence(DependencyGraph graph, RemovalPlan plan)
    {
        foreach (var (name, channels) in plan.Channels)
            foreach (GroupSlice slice in graph[name].Of(ChannelRole.Scale))
                PlannedCuts.Zero(slice.Tensor, slice.Axis, channels.SelectMany(c => slice.Entries[c]));
    }

    /// <summary>The gamma that stands before each list of channels.</summary>
    private static Dictionary<Tensor, Tensor> NormsOfLists(DependencyGraph graph)
    {
        using var scope = new Scope();
        using Recording recording = graph.Record(out _);
        Dictionary<Tensor, Tensor> gammas = [], picked = [];
        foreach (Op op in recording.Ops)
        {
            if (op is BatchNorm2dOp) gammas[op.Output] = op.Inputs[1];
            if (op is IndexSelectOp && gammas.TryGetValue(op.Inputs[0], out Tensor? gamma)) picked[op.Inputs[1]] = gamma;
        }
        return picked;
    }

    private static IEnumerable<(Tensor Gamma, IReadOnlyList<int[]> Entries)> Scales(ChannelGroup group,
        Dictionary<Tensor, Tensor> picked)
    {
        foreach (GroupSlice slice in group.Slices)
        {
            if (slice.Role == ChannelRole.Scale) yield return (slice.Tensor, slice.Entries);
            if (slice.Role == ChannelRole.Index && picked.TryGetValue(slice.Tensor, out Tensor? gamma))
                yield return (gamma, [.. slice.Entries.Select(places => Array.ConvertAll(places, p => (int)slice.Tensor.Span[p]))]);
        }
    }
}
