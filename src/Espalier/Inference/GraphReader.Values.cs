using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <content>Operands and results of a node.</content>
internal sealed partial class GraphReader
{
    /// <summary>An operand that depends on the input; null for constants and patches, which only their readers know.</summary>
    private Reading? Read(int operand) =>
        operand < node.Operands.Count && node.Operands[operand] is { } value && !patches.Contains(value)
            ? readings.GetValueOrDefault(value) : null;

    /// <summary>An operand whose channels are one axis in their usual order.</summary>
    private Reading? Plain(int operand) => Read(operand) is { IsPlain: true } x ? x : null;

    /// <summary>A plain operand without planes: vectors or token rows. Of vectors the order may be any.</summary>
    private Reading? Flat(int operand) =>
        Read(operand) is { Spatial: false, Shape.Rank: 2 } x && x.Shape[1] == x.Map.Channels ? x : null;

    /// <summary>Token rows whose channels are split into heads, [rows, heads, d].</summary>
    private Reading? Heads(int operand) => Read(operand) is { Form: Form.Rows, Shape.Rank: 3 } x ? x : null;

    private Weight? Constant(int operand) =>
        operand < node.Operands.Count && node.Operands[operand] is { } value && constants.Has(value) ? constants[value] : null;

    /// <summary>An optional constant vector; false where it is no constant.</summary>
    private bool BiasOf(int operand, out float[]? bias)
    {
        bias = Constant(operand)?.ToArray();
        return bias is not null || operand >= node.Operands.Count || node.Operands[operand] is null;
    }

    /// <summary>Neighbouring operands, where all are constants.</summary>
    private float[][]? Vectors(int first, int count)
    {
        var vectors = new float[count][];
        for (int i = 0; i < count; i++)
        {
            if (Constant(first + i) is not { } vector) return null;
            vectors[i] = vector.ToArray();
        }
        return vectors;
    }

    /// <summary>A constant that is broadcast to x, as a value for each channel; null where it is none.</summary>
    private float[]? PerChannel(Reading x, int operand)
    {
        if (Constant(operand) is not { } constant) return null;
        Shape shape = constant.Shape;
        if (shape.Length == 1) return shape.Rank <= node.Output.Shape.Rank ? All(x, constant.ToArray()[0]) : null;
        int axis = x.Spatial ? -3 : -1;
        bool fits = x.IsPlain && shape.Rank >= -axis && shape.Rank <= node.Output.Shape.Rank
            && shape.Length == shape[axis] && shape.Length == x.Map.Channels;
        return fits ? constant.ToArray() : null;
    }

    private static float[] All(Reading x, float value)
    {
        float[] values = new float[x.Map.Channels];
        Array.Fill(values, value);
        return values;
    }

    private Reading? Scaled(Reading x, float[]? scale, float[]? shift) => node.Output.Shape == x.Shape
        ? Like(x, new AffineLayer(x.Map.Like(x.Map.Channels), x.Map, scale, shift, Activation.None)) : null;

    /// <summary>What the layer makes, told of as x is.</summary>
    private Reading Like(Reading x, Layer layer) => x with { Map = Append(layer), Shape = node.Output.Shape };

    private Map Append(Layer layer)
    {
        layers.Add(layer);
        return layer.Output;
    }

    private RowAxis NewAxis(int most, RowAxis? whole = null)
    {
        var axis = new RowAxis(axes.Count, most, whole);
        axes.Add(axis);
        return axis;
    }

    /// <summary>Maps of a tensor [images, channels, height, width].</summary>
    private static Map MapOf(Shape shape) => new(shape[1], shape[2], shape[3]);

    /// <summary>A value of a known place, by its shape.</summary>
    private Reading Told(GraphValue value, Map map)
    {
        Form form = map.Axis is not null && value.Tensor.Rows is not null ? Form.Rows
            : value.Shape.Rank >= 4 && map.Pixels == value.Shape[-1] * value.Shape[-2] ? Form.Planes : Form.Values;
        return new Reading(map, value.Shape, images, form);
    }

    /// <summary>A value in maps of its own that an op as it is makes, or that comes from outside.</summary>
    /// <param name="axis">Where it is token rows.</param>
    private Reading Told(GraphValue value, RowAxis? axis)
    {
        Shape shape = value.Shape;
        long perRow = shape.Length / Math.Max(1, shape.Rank == 0 ? 1 : shape[0]);
        if (axis is not null)
            return new Reading(Map.OfRows(axis, checked((int)perRow)), shape, images, Form.Rows);
        if (shape.Rank >= 4 && shape[0] == images)
        {
            int channels = checked((int)(perRow / Math.Max(1, shape[-1] * shape[-2])));
            return new Reading(new Map(channels, shape[-2], shape[-1]), shape, images, Form.Planes);
        }
        return new Reading(new Map(checked((int)(shape.Length / images)), 1, 1), shape, images, Form.Values);
    }

    /// <summary>The node as it is, on tensors.</summary>
    private Reading AsItIs()
    {
        GraphValue value = node.Output;
        Reading?[] operands = [.. node.Operands.Select(o => o is null ? null : readings.GetValueOrDefault(o))];
        RowAxis? axis = operands.FirstOrDefault(r => r is { Form: Form.Rows })?.Map.Axis;
        if (value.Tensor.Rows is { } rows)
        {
            if (node.Op is MergeRowsOp && axis is { IsUniform: false })
                throw Mixed("it merges rows of which each image may have another number, by no plan that was made of them");
            if (node.Op is PatchesToRowsOp or AssembleTokensOp or TakeRowsOp or MergeRowsOp or MapsToRowsOp)
                axis = NewAxis(rows.MaxLength);
        }
        else
        {
            if (axis is { IsUniform: false } || operands.Any(r => r?.Map.Axis is { IsUniform: false }))
                throw Mixed("it reads rows of which each image may have another number, and gives no such rows");
            axis = null;
            if (node.Op is ConcatOp { Axis: 0 } or SliceOp { Axis: 0 } || node.Op is PermuteOp { Axes: not [0, ..] }
                || value.Shape.Rank == 0 || !GrowsWithImages(value))
            {
                throw Mixed("axis 0 of its result does not go with the images");
            }
        }
        Reading result = Told(value, axis);
        layers.Add(new OpLayer(result, node.Op, [.. node.Operands.Select((o, i) =>
            (operands[i], o is not null && constants.Has(o) ? constants[o] : null))]));
        return result;
    }

    private EspalierException Mixed(string why) => new("a session computes each image for itself, but "
        + $"{node} on {string.Join(", ", node.Inputs.Select(i => i.Shape))} cannot be: {why}");

    private Dictionary<GraphValue, Shape>? shapesOfOneMore;

    /// <summary>Whether one more image makes axis 0 as much longer, and leaves the others.</summary>
    private bool GrowsWithImages(GraphValue value)
    {
        if (shapesOfOneMore is null)
        {
            GraphValue input = graph.Inputs[0];
            Shape shape = input.Shape;
            Tensor more = input.Tensor.Rows is { } rows
                ? Tensor.Meta(shape.With(0, rows.MaxLength * (images + 1)), RowSet.Uniform(images + 1, rows.MaxLength))
                : Tensor.Meta(shape.With(0, images + 1));
            var shapes = new Dictionary<GraphValue, Shape>();
            using (Recording.Pause())
            using (new Scope())
            {
                try
                {
                    graph.Run([more], look: (v, t) => shapes[v] = t.Shape);
                }
                catch (ArgumentException e)
                {
                    throw new EspalierException($"the graph runs with {images} images, not with {images + 1}: {e.Message}", e);
                }
            }
            shapesOfOneMore = shapes;
        }
        Shape one = value.Shape, other = shapesOfOneMore[value];
        return one.Rank == other.Rank && (long)one[0] * (images + 1) == (long)other[0] * images && other == one.With(0, other[0]);
    }
}
