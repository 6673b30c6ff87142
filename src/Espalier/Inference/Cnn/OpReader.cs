using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>
/// Turns the ops of one recorded forward pass into layers. Whatever does not depend on the image is a constant, read from the
/// recording: parameters, buffers and what ops make of them.
/// </summary>
internal sealed unsafe partial class OpReader
{
    private readonly Dictionary<Tensor, Reading> readings = [];
    private readonly List<Layer> layers = [];
    private Op op = null!;

    private OpReader()
    {
    }

    /// <summary>Records one image's pass through the network in evaluation mode. The layers refer to its parameters and to what
    /// the innermost scope holds, until their filters are written.</summary>
    /// <param name="multiplyAdds">Of one image, as the literature counts them.</param>
    /// <exception cref="EspalierException">There is no fast form of an op.</exception>
    public static NetGraph Read(ImageClassifier net, out long multiplyAdds)
    {
        Tensor images = Tensor.Zeros(new Shape(1, net.Channels, net.ImageSize, net.ImageSize));
        bool training = net.Training;
        using var recording = new Recording(gradients: false);
        Tensor logits;
        try
        {
            net.Training = false;
            logits = net.Forward(images);
        }
        finally
        {
            net.Training = training;
        }
        multiplyAdds = recording.Cost.MultiplyAdds;
        var reader = new OpReader();
        var input = new Map(net.Channels, net.ImageSize, net.ImageSize);
        reader.readings[images] = Reading.Maps(input);
        foreach (Op op in recording.Ops) reader.Add(op);
        if (!reader.readings.TryGetValue(logits, out Reading? last) || last.Map.Pixels != 1)
            throw new EspalierException($"this network ends in {logits.Shape}; a session wants one row of logits for an image");
        var graph = new NetGraph(input, last.Map, reader.layers);
        graph.Rewire();
        return graph;
    }

    private void Add(Op op)
    {
        this.op = op;
        if (!op.Inputs.Any(readings.ContainsKey)) return;
        readings[op.Output] = op switch
        {
            Conv2dOp conv => Convolution(conv),
            LinearOp linear => Linear(linear),
            BatchNorm2dOp norm => Norm(norm),
            ReluOp => Activated(Activation.Relu),
            SiluOp => Activated(Activation.Silu),
            SigmoidOp => Activated(Activation.Sigmoid),
            ClampOp { Low: 0, High: 6 } => Activated(Activation.Relu6),
            AffineOp affine => Affine(affine),
            AddOp or SubOp or MulOp or DivOp => Binary(),
            MaxPool2dOp p => Pool(true, p.Kernel, p.Stride, p.Padding, false),
            AvgPool2dOp p => Pool(false, p.Kernel, p.Stride, p.Padding, p.CountIncludePad),
            GlobalAvgPool2dOp => Mean(keepsAxes: false),
            MeanOp m when Read(0).Spatial && m.Axes is [2, 3] => Mean(m.KeepDims),
            ReshapeOp => Reshape(),
            PermuteOp p => Permute(p),
            ConcatOp { Axis: 1 } => Concat(),
            SliceOp { Axis: 1 } s => Slice(s),
            PadOp p => Pad(p),
            IndexSelectOp => Select(),
            IndexAddOp => SpreadAdd(),
            _ => throw Unsupported(),
        };
    }

    private Reading Convolution(Conv2dOp conv)
    {
        Reading x = Plain(0);
        if (!x.Spatial || readings.ContainsKey(conv.Inputs[1])) throw Unsupported();
        var y = new Map(conv.Output.Shape[1], conv.Output.Shape[2], conv.Output.Shape[3]);
        return Reading.Maps(Append(new ConvLayer(y, x.Map, new Filters(conv.Inputs[1], conv.Bias, conv.Groups))
        {
            Stride = conv.Stride, Padding = conv.Padding, Dilation = conv.Dilation,
        }));
    }

    private Reading Linear(LinearOp linear)
    {
        Reading x = Read(0);
        bool plain = !linear.Gelu && linear.Residual is null && !readings.ContainsKey(linear.Inputs[1]);
        if (!plain || x.Spatial || x.Axes.Length != 1) throw Unsupported();
        var filters = new Filters(linear.Inputs[1], linear.Bias, groups: 1);
        if (x.Order is { } order) filters.ReadFrom(order);
        return Reading.Vector(Append(new ConvLayer(new Map(filters.Outputs, 1, 1), x.Map, filters)));
    }

    private Reading Norm(BatchNorm2dOp norm)
    {
        Reading x = Plain(0);
        if (norm.Training || norm.Inputs.Skip(1).Any(readings.ContainsKey)) throw Unsupported();
        float* gamma = norm.Inputs[1].Data, beta = norm.Inputs[2].Data;
        float* mean = norm.Inputs[3].Data, variance = norm.Inputs[4].Data;
        float[] scale = new float[x.Map.Channels], shift = new float[scale.Length];
        for (int c = 0; c < scale.Length; c++)
        {
            double s = gamma[c] / Math.Sqrt(variance[c] + (double)norm.Epsilon);
            scale[c] = (float)s;
            shift[c] = (float)(beta[c] - mean[c] * s);
        }
        return x with { Map = Append(new AffineLayer(Like(x.Map), x.Map, scale, shift, Activation.None)) };
    }

    private Reading Activated(Activation activation)
    {
        Reading x = Read(0);
        return x with { Map = Append(new AffineLayer(Like(x.Map), x.Map, null, null, activation)) };
    }

    private Reading Affine(AffineOp affine)
    {
        Reading x = Read(0);
        return Scaled(x, affine.Scale == 1 ? null : All(x, affine.Scale), affine.Shift == 0 ? null : All(x, affine.Shift));
    }

    /// <summary>a + b of two branches, x · s with a value for each channel, or either with a constant.</summary>
    private Reading Binary()
    {
        bool flowsA = readings.ContainsKey(op.Inputs[0]), flowsB = readings.ContainsKey(op.Inputs[1]);
        if (flowsA && flowsB)
        {
            Reading a = Read(0), b = Read(1);
            if (op is AddOp && a.SameLayout(b)) return a with { Map = Append(new SumLayer(Like(a.Map), a.Map, b.Map)) };
            if (op is MulOp && a.Spatial && b.Spatial && a.Map.Channels == b.Map.Channels)
            {
                if (a.Map.Pixels == 1) (a, b) = (b, a);
                if (b.Map.Pixels == 1) return a with { Map = Append(new ScaleLayer(Like(a.Map), a.Map, b.Map)) };
            }
            throw Unsupported();
        }
        Reading x = Read(flowsA ? 0 : 1);
        float[] constant = PerChannel(x, op.Inputs[flowsA ? 1 : 0]);
        return op switch
        {
            AddOp => Scaled(x, null, constant),
            MulOp => Scaled(x, constant, null),
            SubOp when flowsA => Scaled(x, null, Array.ConvertAll(constant, v => -v)),
            SubOp => Scaled(x, All(x, -1), constant),
            DivOp when flowsA => Scaled(x, Array.ConvertAll(constant, v => 1 / v), null),
            _ => throw Unsupported(),
        };
    }

    private Reading Pool(bool max, int kernel, int stride, Padding padding, bool countsPadding)
    {
        Reading x = Plain(0);
        var y = new Map(x.Map.Channels, op.Output.Shape[2], op.Output.Shape[3]);
        return Reading.Maps(Append(new PoolLayer(y, x.Map)
        {
            IsMax = max, Kernel = kernel, Stride = stride, Padding = padding, CountsPadding = countsPadding,
        }));
    }

    private Reading Mean(bool keepsAxes)
    {
        Reading x = Plain(0);
        Map y = Append(new MeanLayer(new Map(x.Map.Channels, 1, 1), x.Map));
        return keepsAxes ? Reading.Maps(y) : Reading.Vector(y);
    }

    private Reading Scaled(Reading x, float[]? scale, float[]? shift) =>
        x with { Map = Append(new AffineLayer(Like(x.Map), x.Map, scale, shift, Activation.None)) };

    private static float[] All(Reading x, float value)
    {
        float[] values = new float[x.Map.Channels];
        Array.Fill(values, value);
        return values;
    }

    /// <summary>A constant that is broadcast to x, as a value for each channel.</summary>
    private float[] PerChannel(Reading x, Tensor constant)
    {
        if (constant.Length == 1) return All(x, constant.Data[0]);
        int axis = x.Spatial ? -3 : -1;
        bool fits = x.Axes.Length == 1 && x.Order is null && constant.Rank >= -axis && constant.Rank <= op.Output.Rank
            && constant.Length == constant.Shape[axis] && constant.Length == x.Map.Channels;
        return fits ? constant.ToArray() : throw Unsupported();
    }

    private Map Append(Layer layer)
    {
        layers.Add(layer);
        return layer.Output;
    }

    private static Map Like(Map x) => new(x.Channels, x.Height, x.Width);

    private Reading Read(int input) => readings.TryGetValue(op.Inputs[input], out Reading? x) ? x : throw Unsupported();

    /// <summary>An operand whose channels are one axis in their usual order.</summary>
    private Reading Plain(int input) => Read(input) is { Axes.Length: 1, Order: null } x ? x : throw Unsupported();

    private EspalierException Unsupported() => new(
        $"a session has no fast form of the op {op.Name} on {string.Join(", ", op.Inputs.Select(i => i.Shape))}; "
        + "run this network by its Forward");

    /// <summary>What a tensor of the recording is: maps, and how its shape tells of them.</summary>
    /// <param name="Axes">The extents of the axes that number the channels.</param>
    /// <param name="Spatial">Whether axes for height and width follow.</param>
    /// <param name="Order">Of maps that were flattened: for each value in memory its place in the tensor.</param>
    private sealed record Reading(Map Map, int[] Axes, bool Spatial, int[]? Order)
    {
        public static Reading Maps(Map map) => new(map, [map.Channels], true, null);

        public static Reading Vector(Map map) => new(map, [map.Channels], false, null);

        public bool SameLayout(Reading other) =>
            Map.SameShape(other.Map) && Spatial == other.Spatial && Axes.AsSpan().SequenceEqual(other.Axes);
    }
}
