using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>A graph while patterns in it are put together: finds what makes and reads a value, and puts other ops in its
/// place.</summary>
internal sealed class OnnxRewriter
{
    private readonly Graph graph;
    private readonly Dictionary<GraphValue, Shape> ofThree = [];
    private readonly List<(GraphValue Whole, GraphValue Part, int First, int End)> parts = [];

    public OnnxRewriter(Graph graph)
    {
        this.graph = graph;
        foreach (GraphValue input in graph.Inputs) ofThree[input] = input.Shape.With(0, 3);
        foreach (GraphNode node in graph.Nodes) ofThree[node.Output] = More(node.Op, node.Operands);
    }

    public Graph Graph => graph;

    /// <summary>A value's shape where there are three images, not two.</summary>
    public Shape OfThree(GraphValue value) => ofThree.GetValueOrDefault(value, value.Shape);

    /// <summary>Whether axis 0 is images, or several things of each.</summary>
    public bool IsImagesFirst(GraphValue value) =>
        value.Shape.Rank > 0 && (long)value.Shape[0] * 3 == (long)OfThree(value)[0] * 2;

    /// <summary>The node that makes a value, where its op is of that kind.</summary>
    public static GraphNode? Made<T>(GraphValue? value) where T : Op => value?.Producer is { Op: T } node ? node : null;

    /// <summary>x, where the value is its square, however that is written.</summary>
    public static GraphValue? SquareOf(GraphValue? value) => Made<SquareOp>(value) is { } square ? square.Operands[0]
        : Made<MulOp>(value) is { } mul && mul.Operands[0] == mul.Operands[1] ? mul.Operands[0] : null;

    private IReadOnlyList<GraphNode> Readers(GraphValue value) => [.. graph.Nodes.Where(n => n.Operands.Contains(value))];

    /// <summary>The one node that reads a value; null where there are others, or the graph gives it.</summary>
    public GraphNode? Reader(GraphValue value) =>
        !graph.Outputs.Contains(value) && Readers(value) is [{ } only] && only.Operands.Count(o => o == value) == 1 ? only : null;

    /// <summary>Makes an op whose result nobody reads yet.</summary>
    /// <param name="at">The node that it is to stand before.</param>
    public GraphValue Insert(GraphNode at, string name, Op op, params GraphValue?[] operands)
    {
        var output = new GraphValue(name, Tensor.Meta(op.Result), isWeight: false);
        Array.Resize(ref operands, op.Operands.Count);
        graph.Insert(IndexOf(at), Graph.Ran(op, output), operands, output);
        ofThree[output] = More(op, operands);
        return output;
    }

    /// <summary>Makes an op that stands for a node: whoever read that reads this, which has its name.</summary>
    public GraphValue Replace(GraphNode node, Op op, params GraphValue?[] operands)
    {
        GraphValue made = Insert(node, node.Name, op, operands);
        Forward(node.Output, made);
        node.Output.Name += ".old";
        return made;
    }

    /// <summary>Whoever read a value reads another.</summary>
    public void Forward(GraphValue old, GraphValue with) => graph.Redirect(old, with, _ => true);

    /// <summary>A weight of the graph's own.</summary>
    public GraphValue Weight(string name, Shape shape, bool trained, Action<Span<float>> fill)
    {
        Tensor tensor = Tensor.Unscoped(shape);
        fill(tensor.Span);
        return Weight(name, tensor, trained);
    }

    private GraphValue Weight(string name, Tensor tensor, bool trained)
    {
        tensor.RequiresGrad = trained;
        return graph.AddWeight(Free(name), tensor);
    }

    /// <summary>Rows of a matrix or entries of a list as a weight of its own. Neighbours stay in the memory of the whole: see
    /// <see cref="Untie"/>.</summary>
    public GraphValue Rows(string name, GraphValue whole, int[] rows)
    {
        Tensor all = whole.Tensor;
        int width = (int)(all.Length / all.Shape[0]);
        Shape shape = all.Shape.With(0, rows.Length);
        int first = rows[0], end = first + rows.Length;
        bool run = !rows.Where((r, i) => r != first + i).Any() && (long)first * width % Tensor.PartAlignment == 0;
        if (run && !parts.Any(p => p.Whole == whole && p.First < end && first < p.End))
        {
            GraphValue part = Weight(name, all.Part((long)first * width, shape), all.RequiresGrad);
            parts.Add((whole, part, first, end));
            return part;
        }
        return Weight(name, shape, all.RequiresGrad, to =>
        {
            for (int i = 0; i < rows.Length; i++) all.Span.Slice(rows[i] * width, width).CopyTo(to[(i * width)..]);
        });
    }

    /// <summary>Gives parts of what is still read as a whole memory of their own, once the graph is as it will be.</summary>
    public void Untie()
    {
        foreach (var (whole, part, _, _) in parts)
            if (graph.Weights.GetValueOrDefault(whole.Name) == whole) part.Tensor.Exchange(part.Tensor.Clone());
    }

    public string Free(string name)
    {
        string free = name;
        for (int i = 1; graph.Weights.ContainsKey(free) || graph.Nodes.Any(n => n.Name == free)
            || graph.Inputs.Any(n => n.Name == free); i++)
            free = $"{name}.{i}";
        return free;
    }

    /// <summary>Takes out what nobody reads.</summary>
    public void Sweep() => graph.RemoveUnread();

    /// <summary>A reshape to a shape for two images and one for three.</summary>
    public static ReshapeOp Reshaped(Tensor x, Shape three, int[] toTwo, int[] toThree)
    {
        var (from, to, sizes) = OnnxEmitter.Groups(x.Shape.ToArray(), three.ToArray(), toTwo, toThree);
        return new ReshapeOp(x, from, to, sizes);
    }

    private int IndexOf(GraphNode node)
    {
        for (int i = 0; i < graph.Nodes.Count; i++) if (graph.Nodes[i] == node) return i;
        throw new ArgumentException($"{node} is not of this graph");
    }

    private Shape More(Op op, IReadOnlyList<GraphValue?> operands)
    {
        using Recording.PauseBlock pause = Recording.Pause();
        return op.On([.. operands.Select(o => o is null ? null : o.IsWeight ? o.Tensor
            : Tensor.Meta(ofThree[o], More(o)))]).Result;
    }

    /// <summary>The rows that a value would have with three images.</summary>
    private RowSet? More(GraphValue value) => value.Tensor.Rows is { } rows ? RowSet.Uniform(3, rows.MaxLength) : null;
}
