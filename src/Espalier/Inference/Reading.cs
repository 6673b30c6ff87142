using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>How a tensor lies in maps.</summary>
internal enum Form
{
    /// <summary>Planes [images, channels.., height, width].</summary>
    Planes,

    /// <summary>Values [images · n, ..], those of an image being one pixel.</summary>
    Values,

    /// <summary>Token rows [rows, channels..].</summary>
    Rows,
}

/// <summary>What a value of a graph is in a plan: maps, and how its tensor tells of them.</summary>
/// <param name="Shape">The tensor's in the example.</param>
/// <param name="Images">Those of the example.</param>
/// <param name="Order">Of maps that were flattened: for each value in memory its place in the tensor.</param>
internal sealed record Reading(Map Map, Shape Shape, int Images, Form Form, int[]? Order = null)
{
    public bool Spatial => Form == Form.Planes;

    /// <summary>The extents of the axes that number the channels.</summary>
    public int[] Axes => Spatial ? Shape.ToArray()[1..^2] : Shape.ToArray()[1..];

    /// <summary>Whether axis 0 is images, or rows, and axis 1 all channels in their usual order.</summary>
    public bool IsPlain => Order is null && Shape.Rank == (Spatial ? 4 : 2) && Shape[1] == Map.Channels;

    /// <summary>Whether an entry of one tensor lies where that entry of the other does.</summary>
    public bool SameLayout(Reading other) => Map.Channels == other.Map.Channels && Map.SamePixels(other.Map)
        && Shape == other.Shape && Spatial == other.Spatial
        && (Order is null) == (other.Order is null) && Order.AsSpan().SequenceEqual(other.Order);

    /// <summary>Values of an image, where all have as many.</summary>
    public long ValuesPerImage => (long)Map.Channels * Map.Pixels;

    /// <summary>The tensor's shape for the images of a lane.</summary>
    public Shape ShapeOf(Lane lane) => Shape.Rank == 0 ? Shape
        : Shape.With(0, Form == Form.Rows ? lane.Rows(Map) : Shape[0] / Images * lane.Images);

    /// <summary>Which rows the tensor has; null where it is none of rows.</summary>
    public unsafe RowSet? RowsOf(Lane lane)
    {
        if (Form != Form.Rows || Map.Axis is not { } axis) return null;
        ReadOnlySpan<int> starts = lane.StartsOf(axis);
        Span<int> lengths = new int[lane.Images];
        for (int b = 0; b < lengths.Length; b++) lengths[b] = starts[b + 1] - starts[b];
        return RowSet.Of(lengths, new ReadOnlySpan<int>(lane.Tokens(axis), starts[^1]).ToArray());
    }

    /// <summary>From memory to a tensor's elements.</summary>
    public unsafe void CopyOut(Lane lane, Place place, float* tensor)
    {
        float* x = place.In(lane);
        int channels = Map.Channels;
        if (Spatial) NhwcLayout.ToNchw(lane.Images, channels, Map.Pixels, x, place.Stride, tensor);
        else if (Order is null) NhwcPass.Copy(lane.Rows(Map), channels, x, place.Stride, tensor, channels);
        else
        {
            for (int i = 0; i < lane.Images; i++, x += place.Stride, tensor += channels)
                for (int c = 0; c < channels; c++) tensor[Order[c]] = x[c];
        }
    }

    /// <summary>From a tensor's elements to memory.</summary>
    public unsafe void CopyIn(Lane lane, float* tensor, Place place)
    {
        float* y = place.In(lane);
        int channels = Map.Channels;
        if (Spatial) NhwcLayout.FromNchw(lane.Images, channels, Map.Pixels, tensor, y, place.Stride);
        else NhwcPass.Copy(lane.Rows(Map), channels, tensor, channels, y, place.Stride);
    }
}
