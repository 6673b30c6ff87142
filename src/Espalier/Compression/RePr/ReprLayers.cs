using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>The convolutions whose filters RePr may drop, in the order of the forward pass.</summary>
internal static class ReprLayers
{
    /// <summary>
    /// Groups that are made by convolutions. With branches the convolutions whose results are added to a residual stream as well,
    /// each on its own: without their filters the stream still carries the channel, so they can be silent but not be removed.
    /// </summary>
    /// <exception cref="EspalierException">There are none.</exception>
    public static IReadOnlyList<ChannelGroup> Find(DependencyGraph graph, SelectionOptions selection, bool branches,
        bool excludeFirst)
    {
        using var scope = new Scope();
        using Recording recording = graph.Record(out _);
        Conv2dOp[] convolutions = [.. recording.Ops.OfType<Conv2dOp>()];
        Dictionary<Tensor, int> order = [];
        foreach (Conv2dOp op in convolutions) order.TryAdd(op.Inputs[1], order.Count);
        List<ChannelGroup> layers = [.. selection.Candidates(graph).Where(g => FilterWeights.Of(g).Any()
            && FilterWeights.Of(g).All(s => order.ContainsKey(s.Tensor)))];
        if (branches)
        {
            HashSet<Tensor> taken = [.. layers.SelectMany(FilterWeights.Of).Select(s => s.Tensor)];
            layers.AddRange(convolutions.Where(op => op.Groups == 1 && taken.Add(op.Inputs[1]))
                .Select(op => Branch(graph, recording.Ops, op)).OfType<ChannelGroup>().Where(g => !selection.Keeps(g)));
        }
        if (excludeFirst) layers.RemoveAll(g => FilterWeights.Of(g).Any(s => order[s.Tensor] == 0));
        return layers.Count == 0 ? throw None(graph)
            : [.. layers.OrderBy(g => FilterWeights.Of(g).Min(s => order[s.Tensor]))];
    }

    private static EspalierException None(DependencyGraph graph) =>
        new("the model has no convolutions whose filters could be dropped" + (graph.Fixed.Count == 0 ? ""
            : $"; those of {graph.Fixed[0].Name}, for one, must stay: {graph.Fixed[0].Reason}"));

    /// <summary>
    /// A convolution with its bias and, where one follows, its batch norm; null where the result is not added to something. Its
    /// channels have no readers of their own.
    /// </summary>
    private static ChannelGroup? Branch(DependencyGraph graph, IReadOnlyList<Op> ops, Conv2dOp convolution)
    {
        Tensor result = convolution.Output, weight = convolution.Inputs[1];
        int[][] entries = [.. Enumerable.Range(0, weight.Shape[0]).Select(k => (int[])[k])];
        List<GroupSlice> slices = [Slice(weight, ChannelRole.Producer)];
        if (convolution.Bias is { } bias) slices.Add(Slice(bias, ChannelRole.Bias));
        if (ops.OfType<BatchNorm2dOp>().FirstOrDefault(n => n.Inputs[0] == result) is { } norm)
        {
            result = norm.Output;
            slices.Add(Slice(norm.Inputs[1], ChannelRole.Scale));
            slices.Add(Slice(norm.Inputs[2], ChannelRole.NormShift));
            slices.Add(Slice(norm.Inputs[3], ChannelRole.Statistic));
            slices.Add(Slice(norm.Inputs[4], ChannelRole.Statistic));
        }
        return ops.OfType<AddOp>().Any(add => add.Inputs.Contains(result))
            ? new ChannelGroup(slices[0].Layer, 0, slices, isStream: true, inexact: null) : null;

        GroupSlice Slice(Tensor tensor, ChannelRole role) => new(graph.Names[tensor], tensor, 0, role, entries);
    }
}
