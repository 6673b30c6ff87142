using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// The filters of the layers that soft pruning works on. A filter is what makes a channel: the rows of its producers and, where a
/// depthwise convolution follows, its filter there. Biases and norms are left as they are.
/// </summary>
/// <param name="norm">1 for the sum of absolute weights, 2 for the Euclidean norm.</param>
internal sealed class SoftFilters(IReadOnlyList<ChannelGroup> groups, SelectionOptions selection, int norm = 2)
{
    /// <summary>How many of <paramref name="filters"/> go at a share: rounded down, but not by an error of the product.</summary>
    public static int Count(int filters, double ratio) => Math.Clamp((int)Math.Floor(filters * ratio + 1e-9), 0, filters - 1);

    /// <summary>The filters of smallest norm of each layer: none below its least width, and what it keeps is rounded.</summary>
    public RemovalPlan Smallest(double ratio)
    {
        var plan = new RemovalPlan();
        foreach (ChannelGroup group in groups)
        {
            double[] norms = [.. Enumerable.Range(0, group.Count).Select(k => Norm(group, k))];
            int count = Math.Min(Count(group.Count, ratio), group.Count - selection.Fewest(group.Count));
            int gone = group.Count - selection.Rounded(group.Count - count, group.Count);
            plan.Add(group, Enumerable.Range(0, group.Count).OrderBy(k => norms[k]).ThenBy(k => k).Take(gone));
        }
        return plan;
    }

    /// <summary>Sets the smallest filters to zero; they stay trainable.</summary>
    /// <param name="renew">Forgets what it keeps for them.</param>
    public void Zero(double ratio, Optimizer? renew = null)
    {
        RemovalPlan plan = Smallest(ratio);
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
