using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>Attention of each image's queries over its keys and values, which may be slices of one map.</summary>
internal sealed unsafe class AttentionStep(AttentionLayer layer, Place q, Place k, Place v, Place to) : Step
{
    private readonly int heads = layer.Op.Settings.Int("heads"), width = layer.Input.Channels;
    private readonly float scale = layer.Op.Settings.Float("scale");
    private readonly RowAxis keys = layer.Inputs[1].Axis!;
    private readonly int queries = layer.Input.Axis!.Fits(layer.Inputs[1].Axis) ? 0 : layer.Input.Axis.Most;

    /// <summary>Whether there is a kernel for it.</summary>
    public static bool Suits(Op op, Map q, Map k, Map v) => q.Channels == k.Channels && v.Channels == k.Channels
        && k.Axis!.Fits(v.Axis) && (q.Axis!.Fits(k.Axis) || q.Axis.IsUniform) && q.Channels % op.Settings.Int("heads") == 0;

    public override void Run(Lane lane)
    {
        var shape = new AttentionHeads(lane.Starts(keys), lane.Images, heads, width / heads, scale);
        float* x = q.In(lane), key = k.In(lane), value = v.In(lane), y = to.In(lane);
        if (queries == 0) Attention.Forward(shape, x, q.Stride, key, k.Stride, value, v.Stride, y, to.Stride);
        else Attention.ForwardPrefix(shape, queries, x, q.Stride, key, k.Stride, value, v.Stride, y, to.Stride);
    }
}
