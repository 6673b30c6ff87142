using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// A place where a layer reads a group's channels. There removal takes them away, after their norm, non-linearity and pooling:
/// there their importance is measured.
/// </summary>
/// <param name="Map">What is read: [N, .., channels, ..].</param>
/// <param name="Axis">The axis of the channels.</param>
/// <param name="Entries">For each channel of the group its entries along the axis.</param>
internal sealed record ChannelReading(ChannelGroup Group, Tensor Map, int Axis, IReadOnlyList<int[]> Entries)
{
    /// <summary>All readings in one recorded forward pass, each map once a group, in the order of the pass.</summary>
    public static List<ChannelReading> Find(IReadOnlyList<Op> ops, IReadOnlyList<ChannelGroup> groups)
    {
        var slices = groups.SelectMany(g => g.Slices.Select(s => (Group: g, Slice: s))).ToLookup(p => p.Slice.Tensor);
        var readings = new List<ChannelReading>();
        var seen = new HashSet<(Tensor, ChannelGroup)>();
        foreach (Op op in ops)
        {
            foreach (Tensor weight in op.Inputs)
            {
                foreach (var (group, slice) in slices[weight])
                {
                    if (Of(op, group, slice) is { } reading && seen.Add((reading.Map, group))) readings.Add(reading);
                }
            }
        }
        return readings;
    }

    private static ChannelReading? Of(Op op, ChannelGroup group, GroupSlice slice) => op switch
    {
        Conv2dOp when slice.Tensor == op.Inputs[1] && slice is { Role: ChannelRole.Consumer, Axis: 1 } =>
            new ChannelReading(group, op.Inputs[0], 1, InAllGroups(op.Inputs[0].Shape[1], slice)),
        LinearOp when slice.Tensor == op.Inputs[1] && slice is { Role: ChannelRole.Consumer, Axis: 1 } =>
            new ChannelReading(group, op.Inputs[0], op.Inputs[0].Rank - 1, slice.Entries),
        IndexAddOp add when slice.Tensor == add.Index => new ChannelReading(group, op.Inputs[3], 1, slice.Entries),
        _ => null,
    };

    /// <summary>A grouped convolution's weight has the columns of one group; the channel is read in all of them.</summary>
    private static IReadOnlyList<int[]> InAllGroups(int channels, GroupSlice slice)
    {
        int width = slice.Tensor.Shape[1];
        return channels == width ? slice.Entries
            : [.. slice.Entries.Select(e =>
                Enumerable.Range(0, channels / width).SelectMany(g => e.Select(c => g * width + c)).ToArray())];
    }
}
