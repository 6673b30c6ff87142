using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>
/// Turns the nodes of a graph into layers. Whatever does not depend on the input is a constant: weights and what ops make of
/// them. A node of which there is no faster form becomes a layer that runs the op as it is.
/// </summary>
internal sealed partial class GraphReader
{
    private readonly Graph graph;
    private readonly Constants constants;
    private readonly int images;
    private readonly Dictionary<GraphValue, Reading> readings = [];
    private readonly List<Layer> layers = [];
    private readonly List<RowAxis> axes = [];
    private readonly HashSet<GraphValue> patches = [];
    private readonly Dictionary<(Map Plan, int Most), RowAxis> merged = [];
    private GraphNode node = null!;

    private GraphReader(Graph graph, Constants constants)
    {
        (this.graph, this.constants) = (graph, constants);
        GraphValue input = graph.Inputs[0];
        images = input.Tensor.Rows?.Images ?? input.Shape[0];
        foreach (GraphNode node in graph.Nodes) if (node.Inputs.All(constants.Has)) constants.Add(node);
    }

    /// <param name="graph">What is to run: see <see cref="Graph.Prepared"/>.</param>
    /// <param name="input">What the input is; likewise the outputs.</param>
    /// <param name="axes">The sets of token rows.</param>
    /// <exception cref="EspalierException">It cannot be computed image by image.</exception>
    public static NetGraph Read(Graph graph, Constants constants, out Reading input, out Reading[] outputs, out RowAxis[] axes)
    {
        var reader = new GraphReader(graph, constants);
        input = reader.ReadInput();
        foreach (GraphNode node in graph.Nodes) reader.Add(node);
        outputs = [.. graph.Outputs.Select(reader.OutputOf)];
        axes = [.. reader.axes];
        var net = new NetGraph(input.Map, [.. outputs.Select(o => o.Map)], reader.layers);
        net.Rewire();
        return net;
    }

    private Reading ReadInput()
    {
        GraphValue value = graph.Inputs[0];
        Reading reading = Told(value, value.Tensor.Rows is { } rows ? NewAxis(rows.MaxLength) : null);
        return readings[value] = reading;
    }

    private Reading OutputOf(GraphValue value)
    {
        if (!readings.TryGetValue(value, out Reading? reading))
            throw new EspalierException($"the output {value} does not depend on the input");
        if (reading.Map.Axis is { IsUniform: false })
            throw new EspalierException($"the output {value} is rows of which each image may have another number; a session "
                + "wants as many values of each image");
        return reading;
    }

    private void Add(GraphNode node)
    {
        this.node = node;
        if (!constants.Has(node.Output)) readings[node.Output] = Fast() ?? AsItIs();
    }

    /// <summary>The node as layers; null where there is no fast form of it.</summary>
    private Reading? Fast() => node.Op switch
    {
        Conv2dOp conv => Convolution(conv),
        LinearOp linear => Linear(linear),
        MatMulOp product => Product(product),
        BatchNorm2dOp norm => Norm(norm),
        GroupNormOp norm => Norm(norm),
        LayerNormOp norm => Norm(norm),
        ReluOp => Activated(Activation.Relu),
        SiluOp => Activated(Activation.Silu),
        SigmoidOp => Activated(Activation.Sigmoid),
        ClampOp { Low: 0, High: 6 } => Activated(Activation.Relu6),
        GeluOp => Gelu(),
        SoftmaxOp => Softmax(),
        AffineOp affine => Affine(affine),
        NegOp => Read(0) is { } x ? Scaled(x, All(x, -1), null) : null,
        AddOp or SubOp or MulOp or DivOp => Binary(),
        MaxPool2dOp p => Pool(true, p.Kernel, p.Stride, p.Padding, false),
        AvgPool2dOp p => Pool(false, p.Kernel, p.Stride, p.Padding, p.CountIncludePad),
        GlobalAvgPool2dOp => Mean(),
        MeanOp { Axes: [2, 3] } => Mean(),
        ReshapeOp => Reshape(),
        PermuteOp p => Permute(p),
        ConcatOp { Axis: 1 } => Concat(),
        SliceOp { Axis: 1 } s => Slice(s),
        PadOp p => Pad(p),
        IndexSelectOp => Select(),
        IndexAddOp => SpreadAdd(),
        PatchesToRowsOp => Patches(),
        AssembleTokensOp => Assemble(),
        EmbedTokensOp => Embed(),
        KeepRowsOp keep => Keep(keep),
        TakeRowsOp take => Take(take),
        RowsToMapsOp grid => ToMaps(grid),
        MapsToRowsOp => ToRows(),
        ClassAttentionOp shares => ClassAttention(shares),
        MatchRowsOp match => Match(match),
        MergeRowsOp merge => Merge(merge),
        SampleRowsOp sample => Sample(sample),
        RowMeanOp mean => Flat(0) is { Order: null, Map.Axis: not null } x
            ? Like(x, new RowMeanLayer(x.Map.Like(x.Map.Channels), x.Map, mean.Prefix)) : null,
        RowNormOp => Flat(0) is { Order: null } x ? Like(x, new RowNormLayer(x.Map.Like(1), x.Map)) : null,
        RowDotOp => RowDot(),
        AttentionOp attention => Attention(attention),
        QuantiseOp rounding => Quantise(rounding),
        ElementOp { Function: ElementFunction.Swish, A: > 0 and var quick } when Read(0) is { Map.Axis: not null } x =>
            Like(x, new GeluLayer(x.Map.Like(x.Map.Channels), x.Map, quick)),
        UnaryOp unary => Read(0) is { } x ? Like(x, new UnaryLayer(x.Map.Like(x.Map.Channels), x.Map, unary)) : null,
        _ => null,
    };

    private Reading? Convolution(Conv2dOp conv)
    {
        if (Plain(0) is not { Spatial: true } x || Constant(1) is not { } weight) return null;
        if (!BiasOf(2, out float[]? bias)) return null;
        var layer = new ConvLayer(MapOf(node.Output.Shape), x.Map, FiltersOf(weight, bias, conv.Groups))
        {
            Stride = conv.Stride, Padding = conv.Padding, Dilation = conv.Dilation,
        };
        return Like(x, layer);
    }

    /// <summary>A linear layer on a vector or on token rows; on patches of maps, a convolution.</summary>
    private Reading? Linear(LinearOp linear)
    {
        if (Constant(1) is not { } weight || !BiasOf(2, out float[]? bias)) return null;
        Map map;
        if (patches.Contains(node.Operands[0]!)) map = OfPatches(node.Operands[0]!, weight, bias);
        else if (Flat(0) is { } x)
        {
            Filters filters = FiltersOf(weight, bias, groups: 1);
            if (x.Order is { } order) filters.ReadFrom(order);
            map = Append(new ConvLayer(x.Map.Like(filters.Outputs), x.Map, filters) { IsLinear = true });
        }
        else return null;
        if (linear.Gelu) map = Append(new GeluLayer(map.Like(map.Channels), map));
        Reading y = Told(node.Output, map);
        if (linear.Residual is null) return y;
        if (Read(3) is not { } residual || !y.SameLayout(residual)) return null;
        return Like(y, new SumLayer(map.Like(map.Channels), map, residual.Map));
    }

    /// <summary>A product with a constant matrix is a linear layer.</summary>
    private Reading? Product(MatMulOp product)
    {
        if (Flat(0) is not { Order: null } x || product.TransposeA || Constant(1) is not { Shape.Rank: 2 } matrix) return null;
        var filters = new Filters(product.TransposeB ? matrix : matrix.Transposed(), null, groups: 1);
        return Told(node.Output, Append(new ConvLayer(x.Map.Like(filters.Outputs), x.Map, filters) { IsLinear = true }));
    }

    /// <summary>The weight of the node with what is known of its codes.</summary>
    private Filters FiltersOf(Weight weight, float[]? bias, int groups)
    {
        var filters = new Filters(weight, bias, groups);
        if (node.Operands[1]!.Producer is not { Op: QuantiseOp { Axis: <= 0, Low: >= -128, High: <= 127 } } rounded) return filters;
        bool centred = rounded.Operands.ElementAtOrDefault(2) is not { } zero || constants[zero].ToArray().All(z => z == 0);
        if (centred) filters.SetCodes(constants[rounded.Operands[1]!].ToArray());
        return filters;
    }

    private Reading? Quantise(QuantiseOp rounding)
    {
        if (Read(0) is not { } x || rounding.Axis >= 0 || Constant(1) is not { } scale || !BiasOf(2, out float[]? zero)) return null;
        float step = scale.ToArray()[0];
        // The op itself says what is wrong with a scale.
        if (!(step > 0) || CodeStep.Of(step, (int)(zero?[0] ?? 0), rounding.Low, rounding.High) is not { } codes) return null;
        return Like(x, new QuantiseLayer(x.Map.Like(x.Map.Channels), x.Map, codes));
    }

    private Reading? Norm(BatchNorm2dOp norm)
    {
        if (Plain(0) is not { } x || norm.Training) return null;
        if (Vectors(1, 4) is not [var gamma, var beta, var mean, var variance]) return null;
        float[] scale = new float[x.Map.Channels], shift = new float[scale.Length];
        for (int c = 0; c < scale.Length; c++)
        {
            double s = gamma[c] / Math.Sqrt(variance[c] + (double)norm.Epsilon);
            scale[c] = (float)s;
            shift[c] = (float)(beta[c] - mean[c] * s);
        }
        Reading? y = Scaled(x, scale, shift);
        // A graph that is prepared for training has the ReLU in its norm.
        return y is null || !norm.Relu ? y : Like(y, new AffineLayer(y.Map.Like(y.Map.Channels), y.Map, null, null, Activation.Relu));
    }

    private Reading? Norm(GroupNormOp norm) => Plain(0) is { Spatial: true } x && Vectors(1, 2) is [var gamma, var beta]
        ? Like(x, new GroupNormLayer(x.Map.Like(x.Map.Channels), x.Map, norm.Groups, gamma, beta, norm.Epsilon)) : null;

    private Reading? Norm(LayerNormOp norm) => (Flat(0) ?? Heads(0)) is { Order: null } x && Vectors(1, 2) is [var gamma, var beta]
        ? Like(x, new LayerNormLayer(x.Map.Like(x.Map.Channels), x.Map, gamma, beta, norm.Epsilon, norm.TrainedWidth)) : null;

    private Reading? Gelu() => Read(0) is { } x ? Like(x, new GeluLayer(x.Map.Like(x.Map.Channels), x.Map)) : null;

    private Reading? Softmax() =>
        Flat(0) is { Order: null } x ? Like(x, new SoftmaxLayer(x.Map.Like(x.Map.Channels), x.Map)) : null;

    private Reading? Activated(Activation activation) =>
        Read(0) is { } x ? Like(x, new AffineLayer(x.Map.Like(x.Map.Channels), x.Map, null, null, activation)) : null;

    private Reading? Affine(AffineOp affine) => Read(0) is { } x
        ? Scaled(x, affine.Scale == 1 ? null : All(x, affine.Scale), affine.Shift == 0 ? null : All(x, affine.Shift)) : null;

    /// <summary>a + b of two branches, x · s with a value for each channel, or either with a constant.</summary>
    private Reading? Binary()
    {
        Reading? a = Read(0), b = Read(1);
        if (a is not null && b is not null)
        {
            if (node.Op is AddOp && a.SameLayout(b))
            {
                Reading like = a.Map.Axis is null ? b : a;
                return Like(like, new SumLayer(like.Map.Like(a.Map.Channels), a.Map, b.Map));
            }
            if (a.Map.Axis is not null && a.SameLayout(b))
                return Like(a, new BinaryLayer(a.Map.Like(a.Map.Channels), a.Map, b.Map, (BinaryOp)node.Op));
            // A number for each row.
            if (node.Op is MulOp && a is { IsPlain: true, Map.Axis: { } axis } && b is { IsPlain: true, Map.Channels: 1 }
                && axis.Fits(b.Map.Axis))
                return Like(a, new BinaryLayer(a.Map.Like(a.Map.Channels), a.Map, b.Map, (BinaryOp)node.Op));
            if (node.Op is not MulOp || !a.Spatial || !b.Spatial || a.Map.Channels != b.Map.Channels) return null;
            if (a.Map.Pixels == 1) (a, b) = (b, a);
            return b.Map.Pixels == 1 && a.Axes.AsSpan().SequenceEqual(b.Axes)
                ? Like(a, new ScaleLayer(a.Map.Like(a.Map.Channels), a.Map, b.Map)) : null;
        }
        Reading x = (a ?? b)!;
        if (PerChannel(x, a is null ? 0 : 1) is not { } constant) return null;
        return node.Op switch
        {
            AddOp => Scaled(x, null, constant),
            MulOp => Scaled(x, constant, null),
            SubOp when a is not null => Scaled(x, null, Array.ConvertAll(constant, v => -v)),
            SubOp => Scaled(x, All(x, -1), constant),
            DivOp when a is not null => Scaled(x, Array.ConvertAll(constant, v => 1 / v), null),
            _ => null,
        };
    }

    private Reading? Pool(bool max, int kernel, int stride, Padding padding, bool countsPadding)
    {
        if (Plain(0) is not { Spatial: true } x) return null;
        return Like(x, new PoolLayer(MapOf(node.Output.Shape), x.Map)
        {
            IsMax = max, Kernel = kernel, Stride = stride, Padding = padding, CountsPadding = countsPadding,
        });
    }

    private Reading? Mean() => Plain(0) is { Spatial: true } x
        ? Told(node.Output, Append(new MeanLayer(new Map(x.Map.Channels, 1, 1), x.Map))) : null;
}
