using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>y = x Φ(x), where no product could take it along.</summary>
/// <param name="quick">See <see cref="Epilogue.Quick"/>.</param>
internal sealed class GeluLayer(Map output, Map input, float quick = 0) : Layer(output, input)
{
    public float Quick => quick;
}

/// <summary>Each pixel's channels to mean 0 and variance 1, then scale and shift.</summary>
/// <param name="gamma">[channels]; likewise beta.</param>
internal sealed class LayerNormLayer(Map output, Map input, float[] gamma, float[] beta, float epsilon, int width)
    : Layer(output, input)
{
    public float[] Gamma { get; } = gamma;

    public float[] Beta { get; } = beta;

    public float Epsilon { get; } = epsilon;

    /// <summary>Values that the statistics are of, see <see cref="LayerNormOp.TrainedWidth"/>.</summary>
    public int Width => width;
}

/// <summary>y = activation(gamma · (x - mean) / deviation + beta), the statistics being those of a group of an image's channels.
/// </summary>
internal sealed class GroupNormLayer(Map output, Map input, int groups, float[] gamma, float[] beta, float epsilon)
    : Layer(output, input)
{
    public int Groups { get; } = groups;

    public float[] Gamma { get; } = gamma;

    public float[] Beta { get; } = beta;

    public float Epsilon { get; } = epsilon;

    public Activation Activation { get; set; }
}

/// <summary>Softmax over the channels of each pixel.</summary>
internal sealed class SoftmaxLayer(Map output, Map input) : Layer(output, input);

/// <summary>Attention of q over k and v, whose rows may be others than q's. Heads, scale and mask are those of the op. Inputs: q,
/// k, v, and perhaps a number for each key that is added to its scores.</summary>
internal sealed class AttentionLayer(Map output, Map[] inputs, AttentionOp op) : Layer(output, inputs)
{
    public AttentionOp Op { get; } = op;

    /// <summary>What the two products are done in, where that is faster.</summary>
    public Precision Precision { get; set; }

    /// <summary>The kernel of bytes; null where the products are of floats.</summary>
    public DotTile? Tile => Op.Bytes || (Precision == Precision.Int8 && Op is { IsPlain: true, Probabilities: null }
        && AttentionInt8.IsQuick && AttentionInt8.Pays(Op.Heads, Input.Axis!.Most, Inputs[1].Axis!.Most))
        ? AttentionInt8.Tile : null;
}

/// <summary>Token rows from patches: prefix tokens in front, and a table [tokens, channels] added.</summary>
internal sealed class AssembleLayer(Map output, Map patches, float[] table) : Layer(output, patches)
{
    public float[] Table { get; } = table;
}

/// <summary>Token rows from ids: for each its row of a table [words, channels], and that of its place [T, channels].</summary>
internal sealed class EmbedLayer(Map output, Reading ids, Weight table, Weight positions) : Layer(output, ids.Map)
{
    public Reading Ids { get; } = ids;

    public Weight Table { get; } = table;

    public Weight Positions { get; } = positions;
}

/// <summary>Some rows of each image, dropped by a score for each. Inputs: the rows and the scores.</summary>
/// <param name="ruled">Whether a rule of a run is for it.</param>
internal sealed class KeepLayer(Map output, Map input, Map scores, KeepRowsOp op, bool ruled) : Layer(output, input, scores)
{
    public bool Ruled => ruled;

    public KeepRule Rule { get; } = op.Rule;

    public int Prefix { get; } = op.Prefix;

    public bool Fuse { get; } = op.Fuse;
}

/// <summary>How much one query of each image attends to each key. Inputs: q, one row an image, and k.</summary>
internal sealed class ClassAttentionLayer(Map output, Map q, Map k, ClassAttentionOp op) : Layer(output, q, k)
{
    public ClassAttentionOp Op { get; } = op;
}

/// <summary>Where each row goes when rows that are alike are merged.</summary>
internal sealed class MatchLayer(Map output, Map keys, MatchRowsOp op) : Layer(output, keys)
{
    public MatchRowsOp Op { get; } = op;
}

/// <summary>Rows merged by a plan. Inputs: the rows, the plan, and perhaps a weight for each row.</summary>
internal sealed class MergeLayer(Map output, Map[] inputs, MergeRowsOp op) : Layer(output, inputs)
{
    public MergeRowsOp Op { get; } = op;
}

/// <summary>Which rows are taken by sampling their scores.</summary>
internal sealed class SampleLayer(Map output, Map scores, SampleRowsOp op) : Layer(output, scores)
{
    public SampleRowsOp Op { get; } = op;
}

/// <summary>The length of each pixel's channels.</summary>
internal sealed class RowNormLayer(Map output, Map input) : Layer(output, input);

/// <summary>The mean of an image's rows on each of them.</summary>
/// <param name="prefix">Tokens in front that have no part in it.</param>
internal sealed class RowMeanLayer(Map output, Map input, int prefix) : Layer(output, input)
{
    public int Prefix { get; } = prefix;
}

/// <summary>An elementwise function of two maps of the same rows; of a product the second may have one number for each row.</summary>
internal sealed class BinaryLayer(Map output, Map a, Map b, BinaryOp op) : Layer(output, a, b)
{
    public BinaryOp Op { get; } = op;
}

/// <summary>An elementwise function that no layer takes along.</summary>
internal sealed class UnaryLayer(Map output, Map input, UnaryOp op) : Layer(output, input)
{
    public UnaryOp Op { get; } = op;
}

/// <summary>Rows start to start + count - 1 of each image.</summary>
internal sealed class TakeLayer(Map output, Map input, int start) : Layer(output, input)
{
    public int Start { get; } = start;
}

/// <summary>The rows behind those in front as maps: pixels lie as rows do.</summary>
internal sealed class RowsToMapsLayer(Map output, Map input) : Layer(output, input);

/// <summary>Maps as rows, behind those of the second input, or behind zeros where there is none.</summary>
internal sealed class MapsToRowsLayer(Map output, params Map[] inputs) : Layer(output, inputs);

/// <summary>Each row with a vector of its image, plus a number of its image where there is a third input.</summary>
internal sealed class RowDotLayer(Map output, params Map[] inputs) : Layer(output, inputs);

/// <summary>An op without a faster form: it runs as it is, on tensors.</summary>
/// <param name="op">Of the example.</param>
/// <param name="operands">In the op's order: what of the inputs it is, or which constant; neither where it is left out.</param>
internal sealed class OpLayer(Reading result, Op op, (Reading? Reading, Weight? Constant)[] operands)
    : Layer(result.Map, [.. operands.Select(o => o.Reading?.Map).OfType<Map>()])
{
    public Reading Result { get; } = result;

    public Op Op { get; } = op;

    public (Reading? Reading, Weight? Constant)[] Operands { get; } = operands;
}
