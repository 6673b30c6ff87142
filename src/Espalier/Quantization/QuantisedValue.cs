using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>
/// A value or weight of a graph that is stored in few bits: a <see cref="QuantiseOp"/> behind it, whose scale and zero point are
/// buffers of the graph. Sessions, files and ONNX read all they need from there.
/// </summary>
public sealed class QuantisedValue
{
    private readonly QuantiseOp op;

    internal QuantisedValue(GraphNode node)
    {
        (Node, op) = (node, (QuantiseOp)node.Op);
        Format = new CodeFormat(op.Low, op.High, Zero is null);
    }

    /// <summary>The node of the op.</summary>
    public GraphNode Node { get; }

    public CodeFormat Format { get; }

    /// <summary>Of one entry, or of one for each entry of the axis.</summary>
    public Tensor Scale => Node.Operands[1]!.Tensor;

    /// <summary>Null where code 0 stands for 0.</summary>
    public Tensor? Zero => Node.Operands.ElementAtOrDefault(2)?.Tensor;

    /// <summary>The axis that has a scale for each entry; -1 where there is one scale.</summary>
    public int Axis => op.Axis;

    /// <summary>What is rounded: a weight, or what a node gives.</summary>
    public GraphValue Source => Node.Operands[0]!;

    public bool IsWeight => Source.IsWeight;

    /// <summary>All of a graph, in the order of its nodes, whose scales are buffers.</summary>
    public static IEnumerable<QuantisedValue> Of(Graph graph) => graph.Nodes
        .Where(n => n.Op is QuantiseOp && n.Operands.Skip(1).All(o => o is null or { IsWeight: true })).Select(n =>
            new QuantisedValue(n));

    /// <summary>Rounds a value: whoever read it reads the rounded one from now on.</summary>
    /// <param name="value">A weight, an input or what a node gives.</param>
    /// <param name="axis">The axis that gets a scale for each entry; -1 for one scale.</param>
    /// <returns>With the scale 1, until a range is set.</returns>
    public static QuantisedValue Insert(Graph graph, GraphValue value, CodeFormat format, int axis = -1)
    {
        Shape shape = axis < 0 ? new Shape() : new Shape(value.Shape[axis]);
        Tensor scale = Tensor.Unscoped(shape);
        scale.Fill(1);
        List<(string, Tensor)> buffers = [(Free(graph, $"{value.Name}.scale"), scale)];
        Tensor? zero = null;
        if (!format.Symmetric)
        {
            zero = Tensor.Unscoped(shape);
            zero.Fill(format.Low);
            buffers.Add((Free(graph, $"{value.Name}.zero"), zero));
        }
        GraphValue made = graph.InsertAfter(value, x => F.Quantise(x, scale, zero, format.Low, format.High, axis), buffers);
        made.Name = Free(graph, $"{value.Name}.quantised");
        return new QuantisedValue(made.Producer!);
    }

    /// <summary>Rounds a value with the scale and zero point of another one.</summary>
    public static QuantisedValue Insert(Graph graph, GraphValue value, QuantisedValue like)
    {
        CodeFormat format = like.Format;
        GraphValue made = graph.InsertAfter(value, x => F.Quantise(x, like.Scale, like.Zero, format.Low, format.High, like.Axis));
        made.Name = Free(graph, $"{value.Name}.quantised");
        return new QuantisedValue(made.Producer!);
    }

    /// <summary>Spreads the codes over a range of values.</summary>
    public void SetRange(float min, float max) => SetRange(0, min, max);

    /// <summary>The same for one entry of the axis.</summary>
    public void SetRange(int entry, float min, float max)
    {
        (float scale, int zero) = Format.Fit(min, max);
        Scale.Span[entry] = scale;
        if (Zero is { } zeros) zeros.Span[entry] = zero;
    }

    /// <summary>Spreads the codes over a weight's values as they are now, for each entry of the axis or for all.</summary>
    /// <param name="range">Of the values of an entry; null for the least and the largest.</param>
    public void SetRangeOfWeight(Func<float[], (float Min, float Max)>? range = null)
    {
        if (!IsWeight) throw new ArgumentException($"{Source} is no weight");
        var zeros = new List<int>();
        float least = float.PositiveInfinity;
        foreach (var (entry, values, min, max) in WeightRanges.Of(Source.Tensor, Axis))
        {
            var (low, high) = range is null ? (min, max) : range(values);
            SetRange(entry, low, high);
            if (min == 0 && max == 0) zeros.Add(entry);
            else least = Math.Min(least, Scale.Span[entry]);
        }
        // Zeros are exact at any scale; the finest keeps the bias, which is rounded to whole numbers of it.
        if (float.IsFinite(least)) foreach (int entry in zeros) Scale.Span[entry] = least;
    }

    public override string ToString() => $"{Source.Name} in {op.Bits} bits";

    private static string Free(Graph graph, string name)
    {
        string free = name;
        HashSet<string> taken = [.. graph.Weights.Keys, .. graph.Nodes.Select(n => n.Name), .. graph.Inputs.Select(i => i.Name)];
        for (int i = 1; taken.Contains(free); i++) free = $"{name}.{i}";
        return free;
    }
}
