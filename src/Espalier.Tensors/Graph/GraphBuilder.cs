namespace Espalier.Tensors;

/// <summary>
/// Makes a graph node by node, for readers of files: every node is checked against the shapes before it, and nothing is computed.
/// What a file asks for may be anything, so that sizes are limited, too.
/// </summary>
public sealed class GraphBuilder
{
    /// <summary>Entries of one value of the example, and along one of its axes; and the largest number in a setting.</summary>
    private const long MostValues = 1L << 30, MostExtent = 1L << 24, LargestSetting = 1L << 24;

    /// <summary>Entries of all values of the example together.</summary>
    private const long MostInAll = 1L << 35;

    /// <summary>Rows, channels and positions that ops make lists of while they are made, together.</summary>
    private const long MostListed = 1L << 22;

    private readonly Dictionary<string, GraphValue> values = new(StringComparer.Ordinal);
    private readonly List<GraphValue> inputs = [], weights = [];
    private readonly List<GraphNode> nodes = [];
    private long inAll, listed;

    /// <param name="example">Its shape, with two images; or a tensor with a row set.</param>
    /// <exception cref="ArgumentException">The name is taken, or an axis is empty or too long.</exception>
    public GraphValue Input(string name, Tensor example)
    {
        CheckSize(name, example.Shape);
        return Named(name, new GraphValue(name, example, isWeight: false), inputs);
    }

    /// <param name="tensor">The weight, or only its shape: see <see cref="Tensor.IsMeta"/>.</param>
    /// <exception cref="ArgumentException">The name is taken.</exception>
    public GraphValue Weight(string name, Tensor tensor) => Named(name, new GraphValue(name, tensor, isWeight: true), weights);

    /// <summary>The value of that name, or null.</summary>
    public GraphValue? Find(string name) => values.GetValueOrDefault(name);

    /// <param name="op">See <see cref="OpTable"/>.</param>
    /// <param name="operands">Null for optional ones that are left out; those at the end may be missing.</param>
    /// <returns>What the node gives.</returns>
    /// <exception cref="ArgumentException">The op does not exist or does not fit; the message begins with the node and the
    /// op.</exception>
    public GraphValue Node(string name, string op, IReadOnlyList<GraphValue?> operands, OpSettings settings)
    {
        try
        {
            GraphValue?[] all = [.. operands];
            CheckBefore(op, all, settings);
            Op made = OpTable.Create(op, [.. all.Select(o => o?.Tensor)], settings);
            if (settings.Unread is { } unknown) throw new ArgumentException($"there is no setting '{unknown}'");
            CheckSize(name, made.Result);
            if ((inAll += made.Result.Length) > MostInAll)
                throw new ArgumentException("the values before it are too large together");
            var output = new GraphValue(name, Tensor.Meta(made.Result), isWeight: false);
            var node = new GraphNode(Graph.Ran(made, output), Full(all, made), output);
            CheckRows(output.Tensor, all);
            Named(name, output, null);
            nodes.Add(node);
            return output;
        }
        catch (Exception e) when (e is ArgumentException or ArithmeticException)
        {
            throw Wrong(name, op, e.Message.StartsWith($"{op}: ", StringComparison.Ordinal) ? e.Message[(op.Length + 2)..]
                : e.Message, e);
        }
    }

    /// <summary>The graph, once it has all its nodes.</summary>
    /// <param name="anyImages">Whether axis 0 of inputs and outputs is any number of images, which is checked.</param>
    /// <exception cref="ArgumentException">It is not one for any number of images.</exception>
    public Graph Build(IReadOnlyList<GraphValue> outputs, bool anyImages = true)
    {
        if (outputs.Count == 0 || inputs.Count == 0) throw new ArgumentException("it has no input or no output");
        // Rows of tokens are not made up here.
        if (anyImages && !inputs.Exists(i => i.Tensor.Rows is not null || i.Shape.Rank == 0))
        {
            const int images = 3;
            var shapes = Graph.ShapesFor(images, inputs, nodes);
            foreach (GraphValue output in outputs)
            {
                Shape shape = shapes.GetValueOrDefault(output)?.Shape ?? output.Shape;
                if (shape.Rank == 0 || (output.Tensor.Rows is null && shape[0] != images))
                    throw new ArgumentException($"the output '{output.Name}' is {shape} for {images} images");
            }
        }
        return new Graph(inputs, outputs, nodes, weights);
    }

    /// <summary>What is wrong with a node, in one line.</summary>
    public static ArgumentException Wrong(string name, string op, string what, Exception? inner = null) =>
        new($"node '{name}' ({op}): {what.ReplaceLineEndings(" ")}", inner);

    private GraphValue Named(string name, GraphValue value, List<GraphValue>? kind)
    {
        if (name.Length == 0) throw new ArgumentException("a value has no name");
        if (!values.TryAdd(name, value)) throw new ArgumentException($"two values are named '{name}'");
        kind?.Add(value);
        return value;
    }

    /// <summary>Operands in the number that the op has, as it does in a traced graph.</summary>
    private static GraphValue?[] Full(GraphValue?[] operands, Op op)
    {
        Array.Resize(ref operands, op.Operands.Count);
        return operands;
    }

    /// <summary>What ops would take for granted or make long lists of.</summary>
    private void CheckBefore(string op, GraphValue?[] operands, OpSettings settings)
    {
        foreach (var (name, value) in settings)
        {
            if (value is long number ? IsTooLarge(number) : value is long[] list && Array.Exists(list, IsTooLarge))
                throw new ArgumentException($"the setting '{name}' is too large");
        }
        foreach (GraphValue? operand in operands)
            if (operand is { IsWeight: true, Shape.Length: 0 }) throw new ArgumentException($"its operand {operand} is empty");
        if (OpTable.ListOperand(op) is { } at && at < operands.Length && operands[at] is { } index)
        {
            if (!index.IsWeight || index.Tensor.IsMeta)
                throw new ArgumentException($"its list '{index.Name}' is no tensor of the file");
            if (operands[0]?.Shape is { Rank: > 1 } shape) Listed(shape[1]);
            if (op == "Pick") Listed(index.Shape.Length);
        }
        if (op == "TakeRows" && operands is [{ Tensor.Rows: { } rows }, ..]) Listed(rows.Rows);
        if (op == "Interpolate") Listed(8 * ((long)settings.Int("height") + settings.Int("width")));
    }

    private static bool IsTooLarge(long setting) => setting is < -LargestSetting or > LargestSetting;

    private void Listed(long count)
    {
        if ((listed += count) > MostListed)
            throw new ArgumentException("its lists and those of the nodes before it are too long");
    }

    private static void CheckSize(string name, Shape shape)
    {
        long most = 1;
        for (int i = 0; i < shape.Rank; i++) most = Math.Max(most, shape[i]);
        if (shape.Length == 0 || shape.Length > MostValues || most > MostExtent)
            throw new ArgumentException($"'{name}' is {shape}, which is {(shape.Length == 0 ? "empty" : "too large")}");
    }

    /// <summary>Row sets are those of the inputs' images.</summary>
    private void CheckRows(Tensor output, GraphValue?[] operands)
    {
        if (output.Rows is not { } rows || Array.Exists(operands, o => o?.Tensor.Rows == rows)) return;
        Listed(rows.Rows);
        if (inputs.Count > 0 && rows.Images != Images(inputs[0].Tensor))
            throw new ArgumentException($"gives rows of {rows.Images} images for {Images(inputs[0].Tensor)}");
    }

    private static int Images(Tensor example) => example.Rows?.Images ?? (example.Rank > 0 ? example.Shape[0] : 0);
}
