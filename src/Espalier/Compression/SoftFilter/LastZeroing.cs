using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

/// <summary>
/// Makes channels of zeroed filters zero altogether. Behind a batch norm such a channel still is the constant kappa = beta - gamma
/// · mean / sqrt(variance + eps): the constant goes into what reads the channel, and beta and mean, or the bias, become zero.
/// Only at zero-padded borders does this change what the network computes.
/// </summary>
internal static class LastZeroing
{
    /// <param name="plan">The channels of the filters that are zero.</param>
    /// <returns>The largest difference of an output on the graph's example, and where constants could not be moved exactly.</returns>
    public static (float Difference, IReadOnlyList<string> Notes) Run(DependencyGraph graph, RemovalPlan plan)
    {
        using var scope = new Scope();
        float[] before;
        ConstantShifts constants;
        using (Recording recording = graph.Record(out Tensor output))
        {
            before = output.ToArray();
            constants = new ConstantShifts(recording.Ops, new PlannedCuts(graph, plan), graph.Names);
        }
        foreach (var (tensor, shift) in constants.Shifts) TensorPrimitives.Add(tensor.Span, shift, tensor.Span);
        foreach (var (name, channels) in plan.Channels)
        {
            foreach (GroupSlice slice in graph[name].Slices.Where(MakesConstants))
                PlannedCuts.Zero(slice.Tensor, slice.Axis, channels.SelectMany(c => slice.Entries[c]));
        }
        using Recording after = graph.Record(out Tensor now);
        return (Removal.Difference(before, now.Span), constants.Notes);
    }

    private static bool MakesConstants(GroupSlice slice) => slice.Role is ChannelRole.Bias or ChannelRole.NormShift
        || (slice.Role == ChannelRole.Statistic && slice.Name.EndsWith("running_mean", StringComparison.Ordinal));
}
