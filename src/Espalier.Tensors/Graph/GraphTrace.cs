using System.Globalization;

namespace Espalier.Tensors;

public sealed partial class Graph
{
    /// <summary>
    /// The graph of what <paramref name="forward"/> does with an example. It runs once, on shapes only; what it makes of weights
    /// alone is computed and, like any other tensor that it uses, becomes a node or a constant of the graph.
    /// </summary>
    /// <param name="example">The shape of the input, with at least two images, so that their axis cannot be taken for an axis of one
    /// entry.</param>
    /// <param name="weights">Parameters and buffers with their names; other tensors become constants with names of their own.</param>
    /// <exception cref="ArgumentException">A result is not made of the input.</exception>
    public static Graph Trace(Func<Tensor, Tensor> forward, Shape example, IEnumerable<(string Name, Tensor Value)> weights)
    {
        Graph graph = Trace(x => [forward(x[0])], [("images", Tensor.Meta(example))], weights);
        // Rows [N T, D] that become [N, T, D] by the N of the example would be as many for any number of images.
        GraphNode[] splits = [.. graph.Nodes.Where(n => n.Op is ReshapeOp { SplitsFirst: true })];
        if (splits.Length == 0) return graph;
        var shapes = ShapesFor(example[0] + 1, graph.Inputs, graph.Nodes);
        foreach (GraphNode node in splits)
        {
            GraphValue rows = node.Operands[0]!;
            if (shapes.GetValueOrDefault(rows) is { } x && x.Shape != rows.Shape && shapes[node.Output].Shape[0] == node.Output.Shape[0])
                throw GraphBuilder.Wrong(node.Name, node.Op.Name, $"holds on to the {example[0]} images of the example; F.Split says one "
                    + "axis as -1");
        }
        return graph;
    }

    /// <summary>Runs the nodes on the shapes of another number of images: no reshape or slice may say how many there are.</summary>
    /// <exception cref="ArgumentException">A node does not run.</exception>
    internal static Dictionary<GraphValue, Tensor> ShapesFor(int images, IEnumerable<GraphValue> inputs, IEnumerable<GraphNode> nodes)
    {
        var shapes = inputs.ToDictionary(i => i, i => Tensor.Meta(i.Shape.With(0, images)));
        using Recording.PauseBlock _ = Recording.Pause();
        foreach (GraphNode node in nodes)
        {
            try
            {
                Op op = node.Op.On([.. node.Operands.Select(o => o is null ? null : shapes.GetValueOrDefault(o) ?? o.Tensor)]);
                shapes.Add(node.Output, op.RunMeta());
            }
            catch (Exception e) when (e is ArgumentException or ArithmeticException)
            {
                throw GraphBuilder.Wrong(node.Name, node.Op.Name, $"is not for any number of images: {e.Message}", e);
            }
        }
        return shapes;
    }

    /// <summary>The same for any number of inputs and outputs.</summary>
    /// <param name="examples">Names and shapes (with row sets, where rows are tokens) of the inputs.</param>
    public static Graph Trace(Func<Tensor[], Tensor[]> forward, IReadOnlyList<(string Name, Tensor Value)> examples,
        IEnumerable<(string Name, Tensor Value)> weights)
    {
        if (examples.FirstOrDefault(e => !e.Value.IsMeta) is { Value: not null })
            throw new ArgumentException("a graph is traced on shapes: see Tensor.Meta");
        using var scope = new Scope();
        using var recording = new Recording(gradients: false, traces: true);
        var tracer = new Tracer([]);
        foreach (var (name, tensor) in weights) tracer.Weight(name, tensor);
        GraphValue[] inputs = [.. examples.Select(e => tracer.Input(e.Name, e.Value))];
        Tensor[] results = forward([.. examples.Select(e => e.Value)]);
        foreach (Op op in recording.Ops) tracer.Add(op);
        return new Graph(inputs, results.Select(tracer.Output), tracer.Nodes, tracer.Weights);
    }

    /// <summary>Names and values of a recording on its way to a graph.</summary>
    private sealed class Tracer(IEnumerable<string> taken)
    {
        private readonly Dictionary<Tensor, GraphValue> values = [];
        private readonly HashSet<string> taken = new(taken, StringComparer.Ordinal);
        private string layer = "";

        public List<GraphNode> Nodes { get; } = [];

        /// <summary>Those that were given and constants, in this order.</summary>
        public List<GraphValue> Weights { get; } = [];

        /// <summary>A tensor of the recording that is a value already.</summary>
        public void Set(Tensor tensor, GraphValue value) => values[tensor] = value;

        public GraphValue Input(string name, Tensor example)
        {
            Claim(name);
            return values[example] = new GraphValue(name, example, isWeight: false);
        }

        public void Weight(string name, Tensor tensor)
        {
            if (values.ContainsKey(tensor)) return;
            Claim(name);
            Weights.Add(values[tensor] = new GraphValue(name, tensor, isWeight: true));
        }

        public GraphValue Output(Tensor result) => values.TryGetValue(result, out GraphValue? value) ? value
            : throw new ArgumentException($"the result {result.Shape} does not come of the recorded ops");

        /// <param name="within">Where names of ops without a weight belong; null for the layer before them.</param>
        public void Add(Op op, string? within = null)
        {
            GraphValue?[] operands = [.. op.Operands.Select(o => o is null ? null : values.GetValueOrDefault(o) ?? Constant(o))];
            if (operands.FirstOrDefault(o => o is { IsWeight: true } && o.Name.Contains('.', StringComparison.Ordinal)) is { } weight)
                layer = weight.Name[..weight.Name.LastIndexOf('.')];
            // What a pass makes of weights alone has values; the graph makes them again, from the weights that there are then.
            string name = op.Output.Name is { } given ? Free(given) : NameOf(op, operands, within);
            var output = new GraphValue(name, Tensor.Meta(op.Output.Shape, op.Output.Rows), isWeight: false);
            values[op.Output] = output;
            Nodes.Add(new GraphNode(op, operands, output));
        }

        private GraphValue Constant(Tensor tensor)
        {
            if (tensor.IsMeta) throw new ArgumentException($"{tensor} is of another pass than the one that is traced");
            Tensor kept = Tensor.Unscoped(tensor.Shape);
            kept.CopyFrom(tensor);
            var constant = new GraphValue(Free("constant"), kept, isWeight: true);
            Weights.Add(constant);
            return values[tensor] = constant;
        }

        /// <summary>The layer whose weight the op reads; else the op's own name behind the block that the last layer is in.</summary>
        private string NameOf(Op op, GraphValue?[] operands, string? within)
        {
            string? weight = operands.FirstOrDefault(o => o is { IsWeight: true })?.Name;
            if (weight is not null && weight.EndsWith(".weight", StringComparison.Ordinal)) return Free(weight[..^".weight".Length]);
            string name = char.ToLowerInvariant(op.Name[0]) + op.Name[1..];
            within ??= layer.Contains('.', StringComparison.Ordinal) ? layer[..layer.LastIndexOf('.')] : "";
            return Free(within.Length == 0 ? name : $"{within}.{name}");
        }

        private void Claim(string name)
        {
            if (!taken.Add(name)) throw new ArgumentException($"two values of the graph are named '{name}'");
        }

        private string Free(string name)
        {
            string free = name;
            for (int i = 1; !taken.Add(free); i++) free = string.Create(CultureInfo.InvariantCulture, $"{name}.{i}");
            return free;
        }
    }
}
