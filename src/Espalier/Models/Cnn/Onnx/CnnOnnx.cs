using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Models.Onnx;

/// <summary>
/// Writes a network into a graph, from the ops of one forward pass: nothing here knows the network, so that what pruning has made
/// of it needs nothing of its own. Sizes are those of the pass, but the number of images stays open.
/// </summary>
internal sealed class CnnOnnx
{
    /// <summary>More than one, so that what is said of the images' axis cannot be mistaken for an axis of one entry.</summary>
    private const int Images = 2;

    private readonly OnnxGraph graph;
    private readonly OnnxValues values;

    private CnnOnnx(OnnxGraph graph, OnnxValues values) => (this.graph, this.values) = (graph, values);

    /// <summary>"images" [N, C, S, S] -> "logits" [N, classes]. Tensors of the pass are freed with the caller's scope, which has
    /// to outlast the graph.</summary>
    /// <exception cref="EspalierException">The network has an op that has no counterpart in ONNX.</exception>
    public static void Add(OnnxGraph graph, ImageClassifier net)
    {
        bool training = net.Training;
        net.Training = false;
        try
        {
            using var recording = new Recording(gradients: false);
            Tensor images = Tensor.Zeros(new Shape(Images, net.Channels, net.ImageSize, net.ImageSize));
            Tensor logits = net.Forward(images);
            var values = new OnnxValues(graph, net, images, logits);
            var network = new CnnOnnx(graph, values);
            foreach (Op op in recording.Ops) network.Add(op);
            if (values[logits] != OnnxValues.Result) graph.Node("Identity", OnnxValues.Result, [values[logits]]);
        }
        finally
        {
            net.Training = training;
        }
    }

    private void Add(Op op)
    {
        // Made of weights alone: the graph has the result.
        if (!op.Inputs.Any(values.IsComputed)) return;
        if (op.Output.Rank == 0 || op.Output.Shape[0] != Images)
            throw new EspalierException($"{op.Name}: makes {op.Output.Shape} of a batch of {Images} images, so that they cannot "
                + "be told apart; such a network cannot be written as ONNX");
        values.Set(op.Output, Write(op));
    }

    /// <summary>Gives the name of the op's result.</summary>
    private string Write(Op op) => op switch
    {
        Conv2dOp o => OnnxLayers.Conv(graph, values, o),
        BatchNorm2dOp o => OnnxLayers.BatchNorm(graph, values, o),
        LinearOp o => OnnxLayers.Linear(graph, values, o),
        MaxPool2dOp o => OnnxLayers.MaxPool(graph, values, o),
        AvgPool2dOp o => OnnxLayers.AveragePool(graph, values, o),
        GlobalAvgPool2dOp => OnnxLayers.MeanOfPlanes(graph, values, op, keep: false),
        MeanOp { Axes: [2, 3] } o when o.Inputs[0].Rank == 4 => OnnxLayers.MeanOfPlanes(graph, values, op, o.KeepDims),
        ReluOp => Node("Relu", op),
        SigmoidOp => Node("Sigmoid", op),
        TanhOp => Node("Tanh", op),
        SoftmaxOp => Node("Softmax", op, OnnxAttribute.Int("axis", -1)),
        AddOp => Node("Add", op),
        SubOp => Node("Sub", op),
        MulOp => Node("Mul", op),
        SiluOp => Silu(op),
        ClampOp o => Clip(o),
        AffineOp o => Affine(o),
        ConcatOp o => Node("Concat", op, OnnxAttribute.Int("axis", o.Axis)),
        PermuteOp o => Node("Transpose", op, OnnxAttribute.Ints("perm", [.. o.Axes.Select(a => (long)a)])),
        SliceOp o => OnnxShapes.Slice(graph, values, o),
        ReshapeOp => OnnxShapes.Reshape(graph, values, op),
        PadOp o => OnnxShapes.Pad(graph, values, o),
        IndexSelectOp => OnnxShapes.Select(graph, values, op),
        IndexAddOp => OnnxShapes.AddTo(graph, values, op),
        _ => throw new EspalierException($"{op.Name}: cannot be written as ONNX; networks of the presets do not have it"),
    };

    /// <summary>An operator that reads what the op reads.</summary>
    private string Node(string type, Op op, params IReadOnlyList<OnnxAttribute> attributes) =>
        graph.Node(type, values.NameOf(op), [.. op.Inputs.Select(x => values[x])], attributes);

    private string Silu(Op op)
    {
        string x = values[op.Inputs[0]], name = values.NameOf(op);
        return graph.Node("Mul", name, [x, graph.Node("Sigmoid", name + ".sigmoid", [x])]);
    }

    private string Clip(ClampOp op)
    {
        string name = values.NameOf(op);
        return graph.Node("Clip", name,
            [values[op.Inputs[0]], graph.Floats(name + ".min", [], op.Low), graph.Floats(name + ".max", [], op.High)]);
    }

    private string Affine(AffineOp op)
    {
        string name = values.NameOf(op);
        string scaled = graph.Node("Mul", name + ".scaled", [values[op.Inputs[0]], graph.Floats(name + ".scale", [], op.Scale)]);
        return graph.Node("Add", name, [scaled, graph.Floats(name + ".shift", [], op.Shift)]);
    }
}
