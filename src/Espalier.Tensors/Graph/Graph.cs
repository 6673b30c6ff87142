namespace Espalier.Tensors;

/// <summary>A value of a <see cref="Graph"/>: an input, a weight, or what a node gives.</summary>
public sealed class GraphValue
{
    internal GraphValue(string name, Tensor tensor, bool isWeight) => (Name, Tensor, IsWeight) = (name, tensor, isWeight);

    /// <summary>A weight's name in checkpoints; else one that says what it is.</summary>
    public string Name { get; internal set; }

    /// <summary>Whether it is a parameter, a buffer or a constant, the same for every image.</summary>
    public bool IsWeight { get; }

    /// <summary>The weight; of other values the shape (and row set) that they have in an example of a few images.</summary>
    public Tensor Tensor { get; internal set; }

    public Shape Shape => Tensor.Shape;

    /// <summary>The node that makes it; null for inputs and weights.</summary>
    public GraphNode? Producer { get; internal set; }

    public override string ToString() => $"{Name} {Shape}";
}

/// <summary>One op of a <see cref="Graph"/>.</summary>
public sealed class GraphNode
{
    internal GraphNode(Op op, GraphValue?[] operands, GraphValue output)
    {
        (Op, Operands, Output) = (op, operands, output);
        output.Producer = this;
    }

    /// <summary>The op on the operands of the example: what it is, its settings, cost and flow.</summary>
    public Op Op { get; internal set; }

    /// <summary>In the order of the op's constructor; null for optional ones that are left out.</summary>
    public IReadOnlyList<GraphValue?> Operands { get; internal set; }

    public GraphValue Output { get; }

    /// <summary>The node's name is its output's.</summary>
    public string Name => Output.Name;

    /// <summary>The operands that are there.</summary>
    public IEnumerable<GraphValue> Inputs => Operands.OfType<GraphValue>();

    public override string ToString() => $"{Name} = {Op.Name}({string.Join(", ", Operands.Select(o => o?.Name ?? "-"))})";
}

/// <summary>
/// A network: nodes in an order in which they can run, over named weights. It comes from a pass of a module (see Trace) or
/// from a file; it can be run, trained, edited, saved and compiled. Running it records like any ops do, so that gradients,
/// costs and channel flow are had from it as from a module. No node knows how many images there are.
/// </summary>
public sealed partial class Graph
{
    private readonly List<GraphNode> nodes;
    private Graph? forTraining, forEvaluation;
    private GraphSections? sections;

    internal Graph(IEnumerable<GraphValue> inputs, IEnumerable<GraphValue> outputs, IEnumerable<GraphNode> nodes,
        IEnumerable<GraphValue> weights)
    {
        (Inputs, Outputs, this.nodes) = ([.. inputs], [.. outputs], [.. nodes]);
        foreach (GraphValue weight in weights) this.weights.Add(weight.Name, weight);
    }

    private readonly OrderedDictionary<string, GraphValue> weights = [];

    public IReadOnlyList<GraphValue> Inputs { get; }

    public IReadOnlyList<GraphValue> Outputs { get; private set; }

    public IReadOnlyList<GraphNode> Nodes => nodes;

    /// <summary>Parameters, buffers and constants by name, in the order in which they were named.</summary>
    public IReadOnlyDictionary<string, GraphValue> Weights => weights;

    /// <summary>Rises with each edit: what was derived from the graph before is of another network then.</summary>
    public int Version { get; private set; }

    /// <summary>The weights that are trained.</summary>
    public IEnumerable<(string Name, Tensor Value)> Parameters =>
        weights.Values.Where(w => w.Tensor.RequiresGrad).Select(w => (w.Name, w.Tensor));

    /// <summary>What an example of a few images costs, divided by how many it has.</summary>
    public Cost CostPerImage
    {
        get
        {
            long images = Inputs[0].Shape[0];
            Cost all = nodes.Aggregate(default(Cost), (sum, node) => sum + node.Op.Cost);
            return new Cost(all.MultiplyAdds / images, all.Bytes / images);
        }
    }

    /// <summary>Values that more depends on than which tokens stay.</summary>
    internal HashSet<GraphValue> Results()
    {
        var needed = new HashSet<GraphValue>(Outputs);
        foreach (GraphNode node in Nodes.Reverse().Where(n => needed.Contains(n.Output)))
            needed.UnionWith(node.Op is KeepRowsOp ? node.Inputs.Take(1) : node.Inputs);
        return needed;
    }

    /// <summary>What all ops say about channels, of the tensors of the values.</summary>
    public ChannelFlow Flow()
    {
        var flow = new ChannelFlow();
        foreach (GraphNode node in nodes) node.Op.Flow(flow);
        return flow;
    }

    /// <summary>The graph's output for one input, see the other overload.</summary>
    public Tensor Run(Tensor input, RunContext run = default) => Run([input], run)[0];

    /// <summary>
    /// Runs every node as it stands, one op after another. Where a recording is open the ops are recorded; where there is none, or
    /// one that only takes times, each intermediate result is freed after its last use.
    /// </summary>
    /// <param name="inputs">As many as <see cref="Inputs"/>, each with as many images as the others.</param>
    /// <param name="look">Called with each value of a node as soon as it is there, in order. Where nothing is recorded the tensor is
    /// good until the value's last use only.</param>
    /// <returns>The outputs, which belong to the innermost scope.</returns>
    /// <exception cref="ArgumentException">An input does not fit.</exception>
    public Tensor[] Run(IReadOnlyList<Tensor> inputs, RunContext run = default, Action<GraphValue, Tensor>? look = null)
    {
        if (inputs.Count != Inputs.Count) throw new ArgumentException($"{inputs.Count} inputs for a graph of {Inputs.Count}");
        var values = new Dictionary<GraphValue, Tensor>(nodes.Count + inputs.Count);
        for (int i = 0; i < inputs.Count; i++)
        {
            Shape wanted = Inputs[i].Shape;
            if (wanted.Rank != inputs[i].Rank || (wanted.Rank > 0 && inputs[i].Shape.With(0, wanted[0]) != wanted))
                throw new ArgumentException($"the input '{Inputs[i].Name}' is {inputs[i].Shape}, not {wanted} (axis 0 is open)");
            values.Add(Inputs[i], inputs[i]);
        }
        if (run.CheckpointActivations && look is null && Recording.Current is { Gradients: true })
            return RunInSections(values, run);
        Dictionary<GraphValue, int>? left = Recording.Current is null or { Gradients: false, Timed: true } ? Uses() : null;
        foreach (GraphNode node in nodes)
        {
            Tensor y = node.Op.On(Operands(node, values), run).Run();
            values.Add(node.Output, y);
            look?.Invoke(node.Output, y);
            if (left is not null) Free(node, left, values);
        }
        return [.. Outputs.Select(o => o.IsWeight ? o.Tensor : values[o])];
    }

    /// <summary>Keeps only what passes from one section to the next; the last one is gone back through first, and is
    /// kept.</summary>
    private Tensor[] RunInSections(Dictionary<GraphValue, Tensor> values, RunContext run)
    {
        IReadOnlyList<GraphSection> parts = (sections ??= new GraphSections(this)).Sections;
        RunContext inside = run with { CheckpointActivations = false };
        foreach (GraphSection section in parts)
        {
            Tensor[] from = [.. section.From.Select(v => values[v])];
            bool kept = section.To.Length != 1 || (section == parts[^1] && !run.GoesOn);
            Tensor[] to = kept ? section.Part.Run(from, inside) : [new SectionOp(section, from, inside).Run()];
            foreach (var (value, tensor) in section.To.Zip(to)) values.TryAdd(value, tensor);
        }
        return [.. Outputs.Select(o => o.IsWeight ? o.Tensor : values[o])];
    }

    /// <summary>What <see cref="RunContext.CheckpointActivations"/> saves and costs; of the graph that runs: see
    /// <see cref="Prepared"/>.</summary>
    public ActivationMemory ActivationMemory => (sections ??= new GraphSections(this)).Memory;

    /// <summary>
    /// The same network with ops joined and unused rows left out: see <see cref="GraphPasses"/>. It shares the weights with this
    /// graph, is made once and again after each edit. Training and inference run it; edits are made on this graph.
    /// </summary>
    public Graph Prepared(bool training) => training
        ? forTraining ??= GraphPasses.Prepare(this, training: true)
        : forEvaluation ??= GraphPasses.Prepare(this, training: false);

    /// <summary>Gives every dropout its own stream of random numbers, in the order of the nodes.</summary>
    public void Seed(ref Rng source)
    {
        foreach (GraphNode node in nodes)
            if (node.Op is DropoutOp dropout) dropout.Stream.Restart(source.NextULong());
    }

    /// <summary>Sets the rate of every dropout of single values.</summary>
    public void SetDropout(float rate)
    {
        foreach (GraphNode node in nodes)
            if (node.Op is DropoutOp { PerImage: false } old) node.Op = Ran(new DropoutOp(old.Inputs[0], rate, old.Stream, active: false), node.Output);
        Changed();
    }

    /// <summary>
    /// The part of the graph that makes some of its values from others: <c>graph.Between([afterBlock3], [logits])</c>. It shares
    /// nodes' ops and weights with this graph as it is now.
    /// </summary>
    /// <exception cref="ArgumentException">A value in between depends on an input of the graph in another way.</exception>
    public Graph Between(IReadOnlyList<GraphValue> from, IReadOnlyList<GraphValue> to)
    {
        var needed = new HashSet<GraphValue>(to);
        var part = new List<GraphNode>();
        for (int i = nodes.Count - 1; i >= 0; i--)
        {
            if (!needed.Contains(nodes[i].Output) || from.Contains(nodes[i].Output)) continue;
            part.Add(nodes[i]);
            needed.UnionWith(nodes[i].Inputs);
        }
        part.Reverse();
        if (Inputs.FirstOrDefault(i => needed.Contains(i) && !from.Contains(i)) is { } missing)
            throw new ArgumentException($"what lies between {string.Join(", ", from)} and {string.Join(", ", to)} depends on {missing}, too");
        return Copy(from, to, part);
    }

    /// <summary>The value of that name; of nodes, inputs and weights.</summary>
    /// <exception cref="KeyNotFoundException">There is none.</exception>
    public GraphValue this[string name] => weights.TryGetValue(name, out GraphValue? weight) ? weight
        : nodes.Find(n => n.Name == name)?.Output ?? Inputs.FirstOrDefault(i => i.Name == name)
        ?? throw new KeyNotFoundException($"the graph has no value '{name}'");

    /// <summary>A graph with values and nodes of its own that shares ops and weights with this one.</summary>
    internal Graph Copy() => Copy(Inputs, Outputs, nodes);

    private static Graph Copy(IReadOnlyList<GraphValue> from, IReadOnlyList<GraphValue> to, IReadOnlyList<GraphNode> nodes)
    {
        var copies = new Dictionary<GraphValue, GraphValue>();
        var used = new List<GraphValue>();
        GraphValue[] inputs = [.. from.Select(v => copies[v] = new GraphValue(v.Name, v.Tensor, isWeight: false))];
        var made = new List<GraphNode>(nodes.Count);
        foreach (GraphNode node in nodes)
        {
            GraphValue?[] operands = [.. node.Operands.Select(o => o is null ? null : Of(o))];
            GraphValue output = copies[node.Output] = new GraphValue(node.Name, node.Output.Tensor, isWeight: false);
            made.Add(new GraphNode(node.Op, operands, output));
        }
        GraphValue[] outputs = [.. to.Select(Of)];
        return new Graph(inputs, outputs, made, used);

        GraphValue Of(GraphValue value)
        {
            if (copies.TryGetValue(value, out GraphValue? copy)) return copy;
            used.Add(value);
            return copies[value] = value;
        }
    }

    private static Tensor?[] Operands(GraphNode node, Dictionary<GraphValue, Tensor> values)
    {
        var operands = new Tensor?[node.Operands.Count];
        for (int i = 0; i < operands.Length; i++)
            operands[i] = node.Operands[i] is not { } operand ? null : operand.IsWeight ? operand.Tensor : values[operand];
        return operands;
    }

    /// <summary>How often each value is read, outputs once more.</summary>
    internal Dictionary<GraphValue, int> Uses()
    {
        var uses = new Dictionary<GraphValue, int>();
        foreach (GraphValue value in nodes.SelectMany(n => n.Inputs).Concat(Outputs))
            uses[value] = uses.GetValueOrDefault(value) + 1;
        return uses;
    }

    private void Free(GraphNode node, Dictionary<GraphValue, int> left, Dictionary<GraphValue, Tensor> values)
    {
        foreach (GraphValue value in node.Inputs)
        {
            if (value.IsWeight || --left[value] > 0 || value.Producer is null) continue;
            values[value].Dispose();
        }
        if (!left.ContainsKey(node.Output)) values[node.Output].Dispose();
    }

    /// <summary>Runs an op on the operands of the example: its result becomes that of the value, which keeps its shape only.</summary>
    internal static Op Ran(Op op, GraphValue output)
    {
        using (Recording.Pause()) output.Tensor = op.RunMeta();
        return op;
    }

    private void Changed()
    {
        forTraining = forEvaluation = null;
        sections = null;
        Version++;
    }
}
