using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.Taylor;

/// <summary>
/// The Taylor criterion of one map, gathered batch by batch. For image n and a channel, t(n) is the mean of activation times
/// gradient over the channel's values in that image: over its plane, or over the rows of its tokens.
/// <para>The paper's criterion is the mean of |t(n)| over all images, the gradient being that of the image's own loss: a batch's
/// loss is the mean over its images, so its gradients count times their number, and images of a short batch weigh no more than
/// others. The widely used pipeline takes gradients of the batch's loss as they are, adds the means of t(n) of each batch and
/// takes the absolute value at the end, so that images of opposite signs cancel.</para>
/// </summary>
internal sealed class TaylorSum(ChannelGroup group, TaylorVariant variant)
{
    private readonly bool paper = variant == TaylorVariant.Paper;
    private readonly double[] sum = new double[group.Count];
    private long seen;

    public ChannelGroup Group => group;

    /// <summary>The criterion of each channel, not normalised.</summary>
    public IReadOnlyList<double> Criterion => [.. sum.Select(s => paper ? s / Math.Max(seen, 1) : Math.Abs(s))];

    /// <param name="gradient">Of the mean loss, same shape as the reading's map.</param>
    /// <param name="images">Of the batch. Axis 0 of the map is these, or rows of a set that says whose each is.</param>
    /// <exception cref="EspalierException">Axis 0 is neither.</exception>
    public void Add(ChannelReading reading, Tensor gradient, int images)
    {
        RowSet? rows = reading.Map.Rows;
        if ((rows?.Images ?? reading.Map.Shape[0]) != images)
            throw new EspalierException($"'{group.Name}' is read as {reading.Map.Shape} for {images} images; which values are of "
                + "which image cannot be told, so there is no Taylor score");
        seen += images;
        for (int k = 0; k < sum.Length; k++)
        {
            double all = 0;
            for (int n = 0; n < images; n++)
            {
                double t = rows is null ? Mean(reading, gradient, k, n, 1) : Mean(reading, gradient, k, rows[n], rows.Length(n));
                all += paper ? Math.Abs(t * images) : t / images;
            }
            sum[k] += all;
        }
    }

    /// <summary>Of activation times gradient, over what channel <paramref name="k"/> is in some entries of axis 0.</summary>
    private static unsafe double Mean(ChannelReading reading, Tensor gradient, int k, int first, int count)
    {
        Shape shape = reading.Map.Shape;
        int width = shape[reading.Axis], outer = 1, plane = 1;
        for (int axis = 1; axis < reading.Axis; axis++) outer *= shape[axis];
        for (int axis = reading.Axis + 1; axis < shape.Rank; axis++) plane *= shape[axis];
        int[] entries = reading.Entries[k];
        double total = 0;
        for (long o = (long)first * outer; o < (long)(first + count) * outer; o++)
        {
            foreach (int entry in entries)
            {
                long at = (o * width + entry) * plane;
                total += TensorPrimitives.Dot(new ReadOnlySpan<float>(reading.Map.Data + at, plane),
                    new ReadOnlySpan<float>(gradient.Data + at, plane));
            }
        }
        return count == 0 ? 0 : total / ((double)count * outer * entries.Length * plane);
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
        Dictionary<Tensor, Op> makers = ops.ToDictionary(op => op.Output);
        foreach (Op op in ops)
        {
            foreach (Tensor weight in op.Inputs)
                foreach (var (group, slice) in slices[weight])
                    Add(Of(op, group, slice));
            // Patches of a map are rows that a kernel, flattened, multiplies: what it reads are the map's channels.
            if (op is LinearOp && makers.GetValueOrDefault(op.Inputs[0]) is PatchesToRowsOp patches
                && makers.GetValueOrDefault(op.Inputs[1]) is ReshapeOp flat)
                foreach (var (group, slice) in slices[flat.Inputs[0]])
                    if (slice is { Role: ChannelRole.Consumer, Axis: 1 }) Add(new(group, patches.Inputs[0], 1, slice.Entries));
        }
        return readings;

        void Add(ChannelReading? reading)
        {
            if (reading is not null && seen.Add((reading.Map, reading.Group))) readings.Add(reading);
        }
    }

    private static ChannelReading? Of(Op op, ChannelGroup group, GroupSlice slice) => op switch
    {
        Conv2dOp when slice.Tensor == op.Inputs[1] && slice is { Role: ChannelRole.Consumer, Axis: 1 } =>
            new ChannelReading(group, op.Inputs[0], 1, InAllGroups(op.Inputs[0].Shape[1], slice)),
        // What attention compares has no weight that reads it: as good as there it is where it is made.
        LinearOp when group.Kind == ChannelKind.QueryKey && slice.Tensor == op.Inputs[1] && FilterWeights.IsFilter(slice) =>
            new ChannelReading(group, op.Output, op.Output.Rank - 1, slice.Entries),
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
