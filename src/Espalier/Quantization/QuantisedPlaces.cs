using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>A layer that computes with codes: a convolution or linear layer whose weight and input are rounded.</summary>
public sealed record QuantisedLayer(GraphNode Node)
{
    public string Name => Node.Name;

    /// <summary>What it reads: codes, once they are there.</summary>
    public GraphValue Input => Node.Operands[0]!;

    /// <summary>The weight as floats.</summary>
    public GraphValue Weight => Node.Operands[1]! is var w && w.Producer is { Op: QuantiseOp } rounded ? rounded.Operands[0]! : w;

    /// <summary>How the weight is rounded.</summary>
    public QuantisedValue Codes => new(Node.Operands[1]!.Producer!);

    /// <summary>All of a graph, in its order.</summary>
    public static IReadOnlyList<QuantisedLayer> Of(Graph graph) => [.. graph.Nodes.Where(n => n.Op is Conv2dOp or LinearOp
        && n.Operands[0]!.Producer?.Op is QuantiseOp && n.Operands[1]!.Producer is { Op: QuantiseOp } w
            && w.Operands[0]!.IsWeight)
        .Select(n => new QuantisedLayer(n))];

    /// <summary>Null where it has none of its own.</summary>
    public Tensor? Bias => Node.Operands.ElementAtOrDefault(2) is { IsWeight: true } bias ? bias.Tensor : null;
}

/// <summary>
/// Which values of a network are rounded. Of convolutional networks all on the way: what a convolution reads, and what it gives,
/// behind ReLU, and sums of two rounded values, so that codes go from layer to layer. Of transformers what the linear layers of
/// the blocks read: norms, softmax, GELU and the residual stream stay floats, as do the projection of patches, the classifier and
/// what only decides on tokens.
/// </summary>
public sealed class QuantisedPlaces
{
    private readonly Graph graph;
    private readonly ILookup<GraphValue, GraphNode> readers;
    private readonly OrderedDictionary<GraphValue, GraphValue> values = [];

    private QuantisedPlaces(Graph graph)
    {
        this.graph = graph;
        readers = graph.Nodes.SelectMany(n => n.Inputs.Distinct().Select(i => (i, n))).ToLookup(p => p.i, p => p.n);
    }

    /// <summary>The layers, in the order of the network.</summary>
    public List<QuantisedLayer> Layers { get; } = [];

    /// <summary>The values that are rounded, each with the one whose scale it has: mostly itself.</summary>
    public IReadOnlyDictionary<GraphValue, GraphValue> Values => values;

    /// <param name="floats">Names of layers that stay as they are.</param>
    public static QuantisedPlaces Of(Graph graph, IReadOnlySet<string> floats)
    {
        var places = new QuantisedPlaces(graph);
        HashSet<GraphValue> needed = graph.Results();
        foreach (GraphNode node in graph.Nodes)
        {
            if (places.IsLayer(node, needed)) { if (!floats.Contains(node.Name)) places.Add(node); }
            else if (node.Op is AddOp && node.Inputs.All(places.values.ContainsKey)
                && node.Operands[0]!.Shape == node.Operands[1]!.Shape)
                places.Round(places.Activated(node.Output));
        }
        return places;
    }

    /// <summary>Whether the node is a layer that could be rounded.</summary>
    private bool IsLayer(GraphNode node, HashSet<GraphValue> needed)
    {
        if (node.Op is not (Conv2dOp or LinearOp) || node.Operands[1] is not { IsWeight: true } weight
            || readers[weight].Count() != 1) return false;
        if (!needed.Contains(node.Output) || node.Operands[0]!.IsWeight) return false;
        if (node.Op is Conv2dOp) return true;
        if (node.Operands[0]!.Producer?.Op is PatchesToRowsOp) return false;
        bool tokens = graph.Nodes.Any(n => n.Op is AttentionOp);
        return !tokens || !IsLast(node);
    }

    /// <summary>Whether only the outputs are made of what the layer gives.</summary>
    private bool IsLast(GraphNode node)
    {
        GraphValue value = node.Output;
        while (!graph.Outputs.Contains(value))
        {
            if (readers[value].ToArray()
                is not [{ Op: UnaryOp or SoftmaxOp or TakeRowsOp or GeluOp or AddOp } reader]) return false;
            value = reader.Output;
        }
        return true;
    }

    private void Add(GraphNode node)
    {
        GraphValue input = node.Operands[0]!;
        Round(input);
        Layers.Add(new QuantisedLayer(node));
        if (node.Op is not Conv2dOp) return;
        GraphValue output = Activated(node.Output);
        if (!graph.Outputs.Contains(output)) Round(output);
    }

    /// <summary>Behind the batch norm and the ReLU that alone read a value: of a ReLU the range begins at code 0.</summary>
    private GraphValue Activated(GraphValue value)
    {
        if (Alone(value) is { Op: BatchNorm2dOp } norm) value = norm.Output;
        return Alone(value) is { Op: ReluOp or ClampOp { Low: 0 } } relu ? relu.Output : value;
    }

    private GraphNode? Alone(GraphValue value) => !graph.Outputs.Contains(value) && readers[value].ToArray() is [{ } reader]
        ? reader
        : null;

    private void Round(GraphValue value)
    {
        if (values.ContainsKey(value)) return;
        GraphValue source = value;
        // What only moves values, or takes the largest, keeps their codes.
        while (source.Producer is { Op: MaxPool2dOp or ReshapeOp or PermuteOp or TakeRowsOp or SliceOp or IndexSelectOp } mover)
        {
            source = mover.Operands[0]!;
            if (values.TryGetValue(source, out GraphValue? own))
            {
                values.Add(value, own);
                return;
            }
        }
        values.Add(value, value);
    }
}
