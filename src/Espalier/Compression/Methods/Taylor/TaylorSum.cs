using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.Taylor;

/// <summary>
/// The Taylor criterion of one map, gathered batch by batch. t(n) is the mean of activation times gradient over the values of a
/// channel in image n. The paper's criterion is the mean of |t(n)|; the variant of the widely used pipeline adds the means of
/// t(n) of each batch and takes the absolute value at the end, so images of opposite signs cancel.
/// </summary>
internal sealed class TaylorSum(ChannelGroup group, TaylorVariant variant)
{
    private readonly bool eachImage = variant == TaylorVariant.Paper;
    private readonly double[] sum = new double[group.Count];
    private long images;

    public ChannelGroup Group => group;

    /// <summary>The criterion of each channel, not normalised.</summary>
    public IReadOnlyList<double> Criterion => [.. sum.Select(s => eachImage ? s / Math.Max(images, 1) : Math.Abs(s))];

    /// <param name="gradient">Of the mean loss, same shape as the reading's map.</param>
    public unsafe void Add(ChannelReading reading, Tensor gradient)
    {
        Shape shape = reading.Map.Shape;
        int count = shape[0], width = shape[reading.Axis], outer = 1, plane = 1;
        for (int axis = 1; axis < reading.Axis; axis++) outer *= shape[axis];
        for (int axis = reading.Axis + 1; axis < shape.Rank; axis++) plane *= shape[axis];
        images += count;
        for (int k = 0; k < sum.Length; k++)
        {
            int[] entries = reading.Entries[k];
            double all = 0;
            for (int n = 0; n < count; n++)
            {
                double t = 0;
                for (int o = 0; o < outer; o++)
                {
                    foreach (int entry in entries)
                    {
                        long at = (((long)n * outer + o) * width + entry) * plane;
                        t += TensorPrimitives.Dot(new ReadOnlySpan<float>(reading.Map.Data + at, plane),
                            new ReadOnlySpan<float>(gradient.Data + at, plane));
                    }
                }
                t /= (double)outer * entries.Length * plane;
                all += eachImage ? Math.Abs(t) : t;
            }
            sum[k] += eachImage ? all : all / count;
        }
    }
}

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
