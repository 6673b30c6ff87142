using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Models.Onnx;

/// <summary>What moves values without computing: shapes, parts, lists of channels.</summary>
internal static class OnnxShapes
{
    /// <summary>0 stands for the size of the input's first axis: the number of images, which only the run knows.</summary>
    public static string Reshape(OnnxGraph graph, OnnxValues values, Op op)
    {
        long[] shape = [0, .. op.Output.Shape.ToArray().Skip(1).Select(n => (long)n)];
        string name = values.NameOf(op);
        return graph.Node("Reshape", name, [values[op.Inputs[0]], graph.Integers(name + ".shape", shape)]);
    }

    public static string Slice(OnnxGraph graph, OnnxValues values, SliceOp op)
    {
        string name = values.NameOf(op);
        return graph.Node("Slice", name,
            [values[op.Inputs[0]], graph.Integers(name + ".start", op.Start),
                graph.Integers(name + ".end", op.Start + op.Output.Shape[op.Axis]), graph.Integers(name + ".axis", op.Axis)]);
    }

    public static string Pad(OnnxGraph graph, OnnxValues values, PadOp op)
    {
        int[] small = op.Inputs[0].Shape.ToArray(), large = op.Output.Shape.ToArray();
        long[] before = [.. op.Before.Select(n => (long)n)];
        long[] after = [.. before.Select((n, axis) => large[axis] - small[axis] - n)];
        string name = values.NameOf(op);
        return graph.Node("Pad", name,
            [values[op.Inputs[0]], graph.Integers(name + ".pads", [.. before, .. after]),
                graph.Floats(name + ".value", [], op.Value)]);
    }

    /// <summary>Inputs x, index. A list of all channels in their order, as before pruning, leaves nothing to do.</summary>
    public static string Select(OnnxGraph graph, OnnxValues values, Op op)
    {
        (Tensor x, Tensor index) = (op.Inputs[0], op.Inputs[1]);
        if (IsWhole(index, x.Shape[1])) return values[x];
        string list = graph.Integers(values.WeightName(index), [.. index.ToArray().Select(c => (long)c)]);
        return graph.Node("Gather", values.NameOf(op), [values[x], list], OnnxAttribute.Int("axis", 1));
    }

    /// <summary>
    /// Inputs x, shift, index, branch. The branch is spread over all channels first, those that it lacks being a channel of zeros
    /// behind it: a gather, since scattering into x needs a place for every pixel of every image.
    /// </summary>
    public static string AddTo(OnnxGraph graph, OnnxValues values, Op op)
    {
        (Tensor x, Tensor shift, Tensor index, Tensor branch) = (op.Inputs[0], op.Inputs[1], op.Inputs[2], op.Inputs[3]);
        string name = values.NameOf(op), added = values[branch];
        if (!IsWhole(index, x.Shape[1])) added = Spread(graph, values, name, index, branch, x.Shape[1]);
        if (!shift.ToArray().Any(s => s != 0)) return graph.Node("Add", name, [values[x], added]);
        long[] shape = [x.Shape[1], .. Enumerable.Repeat(1L, x.Rank - 2)];
        string constant = graph.Floats(values.WeightName(shift), shape, shift.ToArray());
        return graph.Node("Add", name, [graph.Node("Add", name + ".sum", [values[x], added]), constant]);
    }

    private static string Spread(OnnxGraph graph, OnnxValues values, string name, Tensor index, Tensor branch, int channels)
    {
        int count = index.Shape[0];
        long[] places = [.. Enumerable.Repeat((long)count, channels)];
        for (int k = 0; k < count; k++) places[(int)index.Span[k]] = k;
        var pads = new long[2 * branch.Rank];
        pads[branch.Rank + 1] = 1;
        string zero = graph.Node("Pad", name + ".zero", [values[branch], graph.Integers(name + ".pads", pads)]);
        return graph.Node("Gather", name + ".spread", [zero, graph.Integers(values.WeightName(index) + ".places", places)],
            OnnxAttribute.Int("axis", 1));
    }

    private static bool IsWhole(Tensor index, int channels) =>
        index.Shape[0] == channels && !index.ToArray().Where((channel, k) => channel != k).Any();
}
