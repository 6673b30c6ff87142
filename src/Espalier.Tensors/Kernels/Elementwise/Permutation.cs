using System.Numerics.Tensors;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Reorders axes. Axes that stay neighbours are merged first, so that most cases become 2-D transposes or row copies.
/// </summary>
internal static unsafe class Permutation
{
    // Elements of a unit of work: a strip of a transposed plane.
    private const int Strip = 256;

    /// <summary>y[i0, i1, ..] = x with axis axes[k] at ik; or += where <paramref name="accumulate"/>.</summary>
    public static void Run(float* x, Shape shape, ReadOnlySpan<int> axes, float* y, bool accumulate)
    {
        if (shape.Length == 0) return;
        Plan plan = Merge(shape, axes);
        if (plan.Stride[^1] == 1)
        {
            long width = plan.Extent[^1];
            Rows.For(shape.Length / width, width, new RowJob(plan, x, y, width, accumulate));
            return;
        }
        // The plane of y's last axis and of the axis that is last in x is transposed, for every place along all other axes.
        int across = Array.IndexOf(plan.Stride, 1L);
        long planes = shape.Length / (plan.Extent[^1] * plan.Extent[across]), strips = (plan.Extent[^1] + Strip - 1) / Strip;
        Rows.For(planes * strips, Math.Min(Strip, plan.Extent[^1]) * plan.Extent[across],
            new PlaneJob(plan, across, strips, x, y, accumulate));
    }

    /// <summary>y's merged axes: extents, and how far x moves along each; the last entry is y's last axis.</summary>
    private readonly record struct Plan(long[] Extent, long[] Stride)
    {
        /// <summary>Distance in y along an axis.</summary>
        public long Below(int axis)
        {
            long below = 1;
            for (int i = axis + 1; i < Extent.Length; i++) below *= Extent[i];
            return below;
        }
    }

    private static Plan Merge(Shape shape, ReadOnlySpan<int> axes)
    {
        var stride = new long[shape.Rank];
        long below = 1;
        for (int i = shape.Rank - 1; i >= 0; i--)
        {
            stride[i] = below;
            below *= shape[i];
        }
        List<long> extents = [], strides = [];
        foreach (int axis in axes)
        {
            if (shape[axis] == 1) continue;
            if (extents.Count > 0 && strides[^1] == stride[axis] * shape[axis])
            {
                extents[^1] *= shape[axis];
                strides[^1] = stride[axis];
                continue;
            }
            extents.Add(shape[axis]);
            strides.Add(stride[axis]);
        }
        return extents.Count == 0 ? new Plan([1], [1]) : new Plan([.. extents], [.. strides]);
    }

    private readonly struct RowJob(Plan plan, float* x, float* y, long width, bool accumulate) : IRowJob
    {
        public void Run(long row)
        {
            long from = 0, rest = row;
            for (int i = plan.Extent.Length - 2; i >= 0; i--)
            {
                (rest, long at) = Math.DivRem(rest, plan.Extent[i]);
                from += at * plan.Stride[i];
            }
            for (long start = 0; start < width; start += Blocks.Size)
            {
                int count = (int)Math.Min(Blocks.Size, width - start);
                ReadOnlySpan<float> source = new(x + from + start, count);
                Span<float> target = new(y + row * width + start, count);
                if (accumulate) TensorPrimitives.Add(target, source, target);
                else source.CopyTo(target);
            }
        }
    }

    private readonly struct PlaneJob(Plan plan, int across, long strips, float* x, float* y, bool accumulate) : IRowJob
    {
        public void Run(long item)
        {
            (long rest, long strip) = Math.DivRem(item, strips);
            int last = plan.Extent.Length - 1;
            long start = strip * Strip, from = start * plan.Stride[last], to = start;
            for (int i = last - 1; i >= 0; i--)
            {
                if (i == across) continue;
                (rest, long at) = Math.DivRem(rest, plan.Extent[i]);
                from += at * plan.Stride[i];
                to += at * plan.Below(i);
            }
            Transposition.Run(x + from, plan.Stride[last], y + to, plan.Below(across),
                Math.Min(Strip, plan.Extent[last] - start), plan.Extent[across], accumulate);
        }
    }
}
