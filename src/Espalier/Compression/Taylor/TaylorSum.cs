using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

/// <summary>
/// The Taylor criterion of one map, gathered batch by batch. t(n) is the mean of activation times gradient over the values of a
/// channel in image n. The paper's criterion is the mean of |t(n)|; the variant of the widely used pipeline adds the means of
/// t(n) of each batch and takes the absolute value at the end, so images of opposite signs cancel.
/// </summary>
internal sealed class TaylorSum(ChannelGroup group, bool eachImage)
{
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
