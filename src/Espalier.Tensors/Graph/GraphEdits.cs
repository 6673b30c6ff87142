namespace Espalier.Tensors;

public sealed partial class Graph
{
    /// <summary>
    /// Puts ops behind a value: whoever read it reads what <paramref name="forward"/> makes of it.
    /// <c>graph.InsertAfter(block, x => F.KeepRows(x, agent.Score(x), rule))</c>
    /// </summary>
    /// <param name="weights">Names of the tensors that the ops use beside the graph's own weights; others become constants.</param>
    /// <returns>The new value.</returns>
    public GraphValue InsertAfter(GraphValue value, Func<Tensor, Tensor> forward,
        IEnumerable<(string Name, Tensor Value)>? weights = null) => InsertAfter(value, [], x => forward(x[0]), weights);

    /// <summary>The same with ops that read other values, too, which must not depend on this one's readers.</summary>
    /// <param name="others">Behind the value itself in what <paramref name="forward"/> gets.</param>
    public GraphValue InsertAfter(GraphValue value, IReadOnlyList<GraphValue> others, Func<Tensor[], Tensor> forward,
        IEnumerable<(string Name, Tensor Value)>? weights = null)
    {
        HashSet<GraphNode> old = [.. nodes];
        GraphValue made = Add([value, .. others], forward, weights);
        Redirect(value, made, old.Contains);
        MoveBehind(made);
        return Edited(made);
    }

    /// <summary>Nodes that read a value, or what such nodes give, and stand before the one that makes it move behind it.</summary>
    private void MoveBehind(GraphValue value)
    {
        if (value.Producer is not { } maker) return;
        HashSet<GraphValue> later = [value];
        var early = new List<GraphNode>();
        foreach (GraphNode node in nodes.TakeWhile(n => n != maker))
            if (node.Inputs.Any(later.Contains))
            {
                early.Add(node);
                later.Add(node.Output);
            }
        if (early.Count == 0) return;
        nodes.RemoveAll(early.Contains);
        nodes.InsertRange(nodes.IndexOf(maker) + 1, early);
    }

    /// <summary>Adds ops that read some values; nobody reads their result yet.</summary>
    public GraphValue Add(IReadOnlyList<GraphValue> values, Func<Tensor[], Tensor> forward,
        IEnumerable<(string Name, Tensor Value)>? weights = null)
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false, traces: true);
        var tracer = new Tracer([.. this.weights.Keys, .. nodes.Select(n => n.Name), .. Inputs.Select(i => i.Name)]);
        foreach (GraphValue weight in this.weights.Values) tracer.Set(weight.Tensor, weight);
        foreach (var (name, tensor) in weights ?? []) tracer.Weight(name, tensor);
        // Stand-ins: a value may be a weight, and its tensor's ops are to be told from others.
        Tensor[] examples = [.. values.Select(v => v.IsWeight ? v.Tensor : Tensor.Meta(v.Shape, v.Tensor.Rows))];
        for (int i = 0; i < examples.Length; i++) tracer.Set(examples[i], values[i]);
        Tensor result = forward(examples);
        string within = values.FirstOrDefault(v => v.Producer is not null)?.Name ?? "";
        int dot = within.LastIndexOf('.');
        foreach (Op op in recording.Ops) tracer.Add(op, dot < 0 ? "" : within[..dot]);
        foreach (GraphValue weight in tracer.Weights) this.weights.Add(weight.Name, weight);
        int at = values.Max(v => v.Producer is null ? 0 : nodes.IndexOf(v.Producer) + 1);
        nodes.InsertRange(at, tracer.Nodes);
        return tracer.Output(result);
    }

    /// <summary>Whoever read what a node gives reads what <paramref name="forward"/> makes of its operands.</summary>
    public GraphValue Replace(GraphNode node, Func<Tensor[], Tensor> forward, IEnumerable<(string Name, Tensor Value)>? weights = null)
    {
        GraphValue made = Add([.. node.Inputs], forward, weights);
        Redirect(node.Output, made, _ => true);
        return Edited(made);
    }

    /// <summary>Whoever read what a node gives reads its first operand, which must have the same shape.</summary>
    public void Remove(GraphNode node)
    {
        GraphValue input = node.Inputs.First();
        if (input.Shape != node.Output.Shape)
            throw new ArgumentException($"{node} cannot be left out: it makes {node.Output.Shape} of {input.Shape}");
        Redirect(node.Output, input, _ => true);
        Edited(input);
    }

    /// <summary>Puts an output behind those that are there, such as the logits of a classifier after a block.</summary>
    public void AddOutput(GraphValue value)
    {
        Outputs = [.. Outputs, value];
        Refresh();
    }

    /// <summary>Takes an output that is not the first away, and what nobody else reads with it.</summary>
    public void RemoveOutput(GraphValue value)
    {
        if (Outputs[0] == value) throw new ArgumentException($"{value} is the graph's first output, which stays");
        Outputs = [.. Outputs.Where(o => o != value)];
        Refresh();
    }

    /// <summary>
    /// Makes every op again on the example, for weights that have changed their shapes; drops nodes and weights that no output
    /// depends on. Nothing is computed.
    /// </summary>
    /// <exception cref="ArgumentException">The shapes do not fit together.</exception>
    public void Refresh()
    {
        RemoveUnread();
        foreach (GraphNode node in nodes)
            node.Op = Ran(node.Op.On([.. node.Operands.Select(o => o?.Tensor)]), node.Output);
        Changed();
    }

    /// <summary>The weights that a node reads, in their order; edits may have left others behind.</summary>
    public IEnumerable<GraphValue> ReadWeights()
    {
        Dictionary<GraphValue, int> uses = Uses();
        return weights.Values.Where(uses.ContainsKey);
    }

    /// <summary>Takes out the weights that no node reads.</summary>
    /// <returns>Their tensors.</returns>
    public List<Tensor> DropUnreadWeights()
    {
        GraphValue[] unread = [.. weights.Values.Except(ReadWeights())];
        foreach (GraphValue weight in unread) weights.Remove(weight.Name);
        return [.. unread.Select(w => w.Tensor)];
    }

    /// <summary>A weight that no node reads yet.</summary>
    internal GraphValue AddWeight(string name, Tensor tensor)
    {
        var weight = new GraphValue(name, tensor, isWeight: true);
        weights.Add(name, weight);
        return weight;
    }

    internal void RenameWeight(GraphValue weight, string name)
    {
        weights.Remove(weight.Name);
        weight.Name = name;
        weights.Add(name, weight);
    }

    private GraphValue Edited(GraphValue made)
    {
        Refresh();
        return made;
    }

    /// <summary>Everybody, or the nodes named, who reads a value reads another from now on.</summary>
    internal void Redirect(GraphValue old, GraphValue with, Func<GraphNode, bool> where)
    {
        foreach (GraphNode node in nodes)
            if (where(node) && node.Operands.Contains(old)) node.Operands = [.. node.Operands.Select(o => o == old ? with : o)];
        if (Outputs.Contains(old)) Outputs = [.. Outputs.Select(o => o == old ? with : o)];
    }

    /// <summary>Puts a node in; it is not run.</summary>
    internal GraphNode Insert(int at, Op op, GraphValue?[] operands, GraphValue output)
    {
        var node = new GraphNode(op, operands, output);
        nodes.Insert(at, node);
        return node;
    }

    internal void RemoveUnread()
    {
        var needed = new HashSet<GraphValue>(Outputs);
        for (int i = nodes.Count - 1; i >= 0; i--)
        {
            if (needed.Contains(nodes[i].Output)) needed.UnionWith(nodes[i].Inputs);
            else nodes.RemoveAt(i);
        }
    }
}
