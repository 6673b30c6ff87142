using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>Attention of each image's queries over its keys and values, which may be slices of one map.</summary>
internal sealed unsafe class AttentionStep(AttentionLayer layer, Place q, Place k, Place v, Place? ofKeys, Place to) : Step
{
    private readonly HeadLayout heads = layer.Op.Heads;
    private readonly float scale = layer.Op.Scale;
    private readonly bool causal = layer.Op.Mask == AttentionMask.Causal;
    private readonly DotTile? tile = layer.Tile;
    private readonly ProbabilityRange? probabilities = layer.Op.Probabilities?.Range;
    private readonly RowAxis queries = layer.Input.Axis!, keys = layer.Inputs[1].Axis!;

    public override void Run(Lane lane)
    {
        var bias = new AttentionBias { Causal = causal, QueryTokens = lane.Tokens(queries), KeyTokens = lane.Tokens(keys) };
        if (ofKeys is { } added)
        {
            bias.OfKeys = added.In(lane);
            bias.KeyStride = added.Stride;
        }
        AttentionHeads over = heads.Over(lane.Starts(queries), lane.Starts(keys), lane.Images, scale);
        if (tile is not null)
        {
            AttentionInt8.Forward(
                tile, over, q.In(lane), q.Stride, k.In(lane), k.Stride, v.In(lane), v.Stride, to.In(lane), to.Stride);
            return;
        }
        Attention.Forward(
            over, bias, q.In(lane), q.Stride, k.In(lane), k.Stride,
            v.In(lane), v.Stride, to.In(lane), to.Stride, null, probabilities);
    }
}
