using Espalier.Optim;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.SoftFilter;

/// <summary>
/// The filters of the layers that soft pruning works on. A filter is what makes a channel: the rows of its producers and, where a
/// depthwise convolution follows, its filter there. Biases and norms are left as they are.
/// </summary>
/// <param name="norm">1 for the sum of absolute weights, 2 for the Euclidean norm.</param>
internal sealed class SoftFilters(IReadOnlyList<ChannelGroup> groups, SelectionOptions selection, int norm = 2)
{
    /// <summary>How many of <paramref name="filters"/> go at a share: rounded down, but not by an error of the product.</summary>
    public static int Count(int filters, double ratio) => Math.Clamp((int)Math.Floor(filters * ratio + 1e-9), 0, filters - 1);

    /// <summary>What decides on the filters that are zeroed, beside the shares.</summary>
    public string Identity => FormattableString.Invariant(
        $"norm {norm}, multiples of {selection.Multiple}, {selection.MinKept} and {selection.MinKeptShare} of a layer at least");

    /// <summary>The filters of smallest norm of each layer: none below its least width, and what it keeps is rounded.</summary>
    public RemovalPlan Smallest(LayerRatios shares)
    {
        var plan = new RemovalPlan();
        foreach (ChannelGroup group in groups)
        {
            double[] norms = [.. Enumerable.Range(0, group.Count).Select(k => Norm(group, k))];
            int count = Math.Min(Count(group.Count, shares.Of(group)), group.Count - selection.Fewest(group));
            // Rounding is of what is left of a layer that loses filters; others stay whole.
            int gone = count <= 0 ? 0 : group.Count - selection.Rounded(group.Count - count, group);
            plan.Add(group, Enumerable.Range(0, group.Count).OrderBy(k => norms[k]).ThenBy(k => k).Take(gone));
        }
        return plan;
    }

    /// <summary>Sets the smallest filters to zero; they stay trainable.</summary>
    /// <param name="renew">Forgets what it keeps for them.</param>
    public void Zero(LayerRatios shares, Optimizer? renew = null)
    {
        RemovalPlan plan = Smallest(shares);
        foreach (ChannelGroup group in groups)
        {
            foreach (int k in plan.Channels.GetValueOrDefault(group.Name, []))
            {
                foreach (GroupSlice slice in Makers(group))
                {
                    PlannedCuts.Zero(slice.Tensor, slice.Axis, slice.Entries[k]);
                    renew?.Renew(slice.Tensor, PlannedCuts.Elements(slice.Tensor.Shape, slice.Axis, slice.Entries[k]));
                }
            }
        }
    }

    /// <summary>All filters that are zero, however they came to be, except that one of a layer stays.</summary>
    public RemovalPlan Zeroed()
    {
        var plan = new RemovalPlan();
        foreach (ChannelGroup group in groups)
        {
            plan.Add(group, Enumerable.Range(0, group.Count).Where(k => Norm(group, k) == 0).Take(group.Count - 1));
        }
        return plan;
    }

    private static IEnumerable<GroupSlice> Makers(ChannelGroup group) =>
        group.Slices.Where(s => s is { Role: ChannelRole.Producer or ChannelRole.Depthwise, Axis: 0, Tensor.Rank: >= 2 });

    /// <summary>Of the weights that compute the channel from all those before.</summary>
    private double Norm(ChannelGroup group, int channel)
    {
        double sum = 0;
        foreach (GroupSlice slice in FilterWeights.Of(group))
            foreach (int row in slice.Entries[channel])
                foreach (float w in FilterWeights.Row(slice.Tensor, row)) sum += norm == 2 ? (double)w * w : Math.Abs(w);
        return norm == 2 ? Math.Sqrt(sum) : sum;
    }
}

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
        using (Recording recording = graph.Record(out Tensor[] outputs))
        {
            before = Removal.Values(outputs);
            constants = new ConstantShifts(recording.Ops, new PlannedCuts(graph, plan), graph.Names);
        }
        foreach (var (tensor, shift) in constants.Shifts) TensorPrimitives.Add(tensor.Span, shift, tensor.Span);
        foreach (var (name, channels) in plan.Channels)
        {
            foreach (GroupSlice slice in graph[name].Slices.Where(MakesConstants))
                PlannedCuts.Zero(slice.Tensor, slice.Axis, channels.SelectMany(c => slice.Entries[c]));
        }
        using Recording after = graph.Record(out Tensor[] now);
        return (Removal.Difference(before, Removal.Values(now)), constants.Notes);
    }

    private static bool MakesConstants(GroupSlice slice) =>
        slice.Role is ChannelRole.Bias or ChannelRole.NormShift or ChannelRole.RunningMean;
}
