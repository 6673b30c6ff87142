namespace Espalier.Tensors;

/// <summary>
/// Several edits of a graph as one: what is disposed before it is committed, or does not fit, never happened.
/// <code>
/// using var edit = new GraphEdit(graph);
/// foreach (GraphNode sum in blocks) edit.Take(sum, shortcut);
/// float difference = edit.Commit(images, expected);
/// </code>
/// </summary>
public sealed class GraphEdit : IDisposable
{
    private readonly Graph graph;
    private readonly Graph.Snapshot before;
    private readonly Dictionary<Tensor, Tensor> kept = [];
    private bool done;

    public GraphEdit(Graph graph) => (this.graph, before) = (graph, new Graph.Snapshot(graph));

    /// <summary>Changes the values of a weight.</summary>
    public void Change(Tensor weight, Action<Span<float>> change)
    {
        if (!kept.ContainsKey(weight))
        {
            Tensor copy = Tensor.Unscoped(weight.Shape);
            copy.CopyFrom(weight);
            kept.Add(weight, copy);
        }
        change(weight.Span);
    }

    /// <summary>Whoever reads what a node gives reads <paramref name="value"/>, of the same shape, from now on.</summary>
    public void Take(GraphNode node, GraphValue value)
    {
        if (node.Output.Shape != value.Shape)
            throw new ArgumentException($"{node} cannot be left out: it makes {node.Output.Shape}, and {value} takes its place");
        graph.Redirect(node.Output, value, _ => true);
    }

    /// <summary>Whoever reads <paramref name="old"/> as an operand of one node reads another value from now on.</summary>
    public void Take(GraphNode node, GraphValue old, GraphValue value) => graph.Redirect(old, value, n => n == node);

    /// <summary>Keeps the edits, drops weights that nothing reads any more, and frees them.</summary>
    /// <exception cref="ArgumentException">The edits do not fit together; the graph is as it was.</exception>
    public void Commit()
    {
        try
        {
            graph.Refresh();
        }
        catch
        {
            Dispose();
            throw;
        }
        done = true;
        foreach (Tensor unread in graph.DropUnreadWeights()) unread.Dispose();
        foreach (Tensor copy in kept.Values) copy.Dispose();
    }

    /// <summary>The same where the network then gives what was expected.</summary>
    /// <param name="images">The network's input.</param>
    /// <param name="expected">What its output is to be.</param>
    /// <param name="most">The largest difference of a value, where values are larger than 1 as a share of the largest.</param>
    /// <returns>The largest difference.</returns>
    /// <exception cref="InvalidOperationException">It differs by more; the graph is as it was.</exception>
    public float Commit(Tensor images, ReadOnlySpan<float> expected, float most = 1e-3f)
    {
        float difference = 0, largest = 1;
        try
        {
            graph.Refresh();
            using var scope = new Scope();
            ReadOnlySpan<float> now = graph.Run(images).Span;
            if (now.Length != expected.Length) throw new ArgumentException($"{now.Length} values, not {expected.Length}");
            for (int i = 0; i < now.Length; i++)
            {
                float d = MathF.Abs(now[i] - expected[i]);
                difference = float.IsNaN(d) ? float.PositiveInfinity : MathF.Max(difference, d);
                largest = MathF.Max(largest, MathF.Abs(expected[i]));
            }
            if (!(difference <= most * largest))
                throw new InvalidOperationException($"the edited network differs by {difference} where outputs reach {largest}");
        }
        catch
        {
            Dispose();
            throw;
        }
        Commit();
        return difference;
    }

    public void Dispose()
    {
        if (done) return;
        done = true;
        foreach (var (weight, copy) in kept)
        {
            weight.CopyFrom(copy);
            copy.Dispose();
        }
        foreach (Tensor added in before.Restore()) added.Dispose();
    }
}

public sealed partial class Graph
{
    /// <summary>A graph's nodes and weights at one moment, without the weights' values.</summary>
    internal sealed class Snapshot(Graph graph)
    {
        private readonly (GraphNode Node, Op Op, IReadOnlyList<GraphValue?> Operands)[] nodes =
            [.. graph.nodes.Select(n => (n, n.Op, n.Operands))];
        private readonly IReadOnlyList<GraphValue> outputs = graph.Outputs;
        private readonly GraphValue[] weights = [.. graph.weights.Values];

        /// <returns>Tensors of the weights that came after that moment.</returns>
        public List<Tensor> Restore()
        {
            graph.nodes.Clear();
            foreach (var (node, op, operands) in nodes)
            {
                (node.Op, node.Operands) = (op, operands);
                graph.nodes.Add(node);
            }
            graph.Outputs = outputs;
            List<Tensor> added = [.. graph.weights.Values.Except(weights).Select(w => w.Tensor)];
            graph.weights.Clear();
            foreach (GraphValue weight in weights) graph.weights.Add(weight.Name, weight);
            graph.Refresh();
            return added;
        }
    }
}
