using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>The weights that make each channel of a group.</summary>
internal static class FilterWeights
{
    /// <summary>The weights, of rank 2 and more, whose rows or filters produce the group's channels.</summary>
    public static IEnumerable<GroupSlice> Of(ChannelGroup group) =>
        group.Slices.Where(IsFilter);

    /// <summary>Whether a slice is such rows.</summary>
    public static bool IsFilter(GroupSlice slice) => slice is { Role: ChannelRole.Producer, Axis: 0, Tensor.Rank: >= 2 };

    /// <summary>
    /// A weight turned so that its rows are the columns that read channels: [outputs, inputs, ..] -> [inputs, outputs, ..], in the
    /// current scope. Where a list picks channels of a stream, these are the weights that are theirs alone.
    /// </summary>
    public static Tensor Columns(Tensor weight)
    {
        int[] order = [1, 0, .. Enumerable.Range(2, weight.Rank - 2)];
        return F.Permute(weight, order);
    }

    /// <summary>Row <paramref name="entry"/> of a weight [outputs, ...].</summary>
    public static unsafe ReadOnlySpan<float> Row(Tensor weight, int entry)
    {
        int width = checked((int)(weight.Length / weight.Shape[0]));
        return new ReadOnlySpan<float>(weight.Data + (long)entry * width, width);
    }
}
