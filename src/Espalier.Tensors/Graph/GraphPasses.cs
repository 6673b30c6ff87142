namespace Espalier.Tensors;

/// <summary>
/// What makes a graph run faster without changing what it gives, beyond rounding. Each pass works on a copy, so that none undoes
/// what an edit needs.
/// </summary>
internal static class GraphPasses
{
    private const int All = int.MaxValue, Last = -1;

    public static Graph Prepare(Graph graph, bool training)
    {
        Graph copy = graph.Copy();
        DropDropouts(copy, training);
        copy.RemoveUnread();
        TakeRowsEarly(copy, lastRows: true);
        JoinLinear(copy);
        if (training) JoinNorms(copy);
        copy.Refresh();
        return copy;
    }

    /// <summary>Dropouts that do nothing are left out.</summary>
    public static void DropDropouts(Graph graph, bool training)
    {
        foreach (GraphNode node in graph.Nodes)
            if (node.Op is DropoutOp { Rate: var rate } && (rate == 0 || !training))
                graph.Redirect(node.Output, node.Operands[0]!, _ => true);
    }

    /// <summary>
    /// Rows that nobody reads are not computed: where only the class token's row of the last block is asked for, rows are taken
    /// in front of what works row by row, and in front of attention's queries.
    /// </summary>
    /// <param name="lastRows">Whether the same is done for an image's last row: the end of a text, which sees all before
    /// it.</param>
    public static void TakeRowsEarly(Graph graph, bool lastRows)
    {
        // Where rows were dropped or merged before, the last one may not see all.
        lastRows &= !graph.Nodes.Any(n => n.Op is KeepRowsOp or MergeRowsOp);
        Dictionary<GraphValue, int> needed = RowsNeeded(graph, lastRows);
        var taken = new Dictionary<(GraphValue, int), GraphValue>();
        foreach (GraphNode node in graph.Nodes.ToArray())
        {
            int rows = needed.GetValueOrDefault(node.Output, All);
            if (PassesOn(node, rows)) graph.Redirect(node.Output, First(node.Operands[0], rows)!, _ => true);
            else if (node.Op is TakeRowsOp { Start: 0 or Last } take && Wanted(take, lastRows) is var wanted && wanted != All
                && wanted == needed.GetValueOrDefault(node.Operands[0]!, All))
                graph.Redirect(node.Output, node.Operands[0]!, _ => true);
            else if (rows != All)
            {
                node.Operands = [.. node.Operands.Select((o, i) => ReadsRow(node.Op, i, rows) ? First(o, rows) : o)];
                if (rows == Last && node.Op is AttentionOp { Mask: AttentionMask.Causal } causal && ReadsRow(causal, 0, rows))
                    node.Op = Graph.Ran(causal.Unmasked(), node.Output);
            }
        }

        GraphValue? First(GraphValue? value, int rows)
        {
            if (value?.Tensor.Rows is null || needed.GetValueOrDefault(value, All) == rows) return value;
            if (taken.TryGetValue((value, rows), out GraphValue? there)) return there;
            var first = new GraphValue($"{value.Name}.first", value.Tensor, isWeight: false);
            int at = value.Producer is null ? 0 : IndexOf(graph, value.Producer) + 1;
            graph.Insert(at, new TakeRowsOp(value.Tensor, rows == Last ? Last : 0, Math.Abs(rows)), [value], first);
            return taken[(value, rows)] = first;
        }
    }

    /// <summary>Which rows a node that takes some wants.</summary>
    private static int Wanted(TakeRowsOp take, bool lastRows) =>
        take.Start >= 0 ? take.Start + take.Count : take.Start == Last && lastRows ? Last : All;

    /// <summary>The rows that two readers want together.</summary>
    private static int Both(int a, int b) => a == b || b == 0 ? a : a == 0 ? b : a == Last || b == Last ? All : Math.Max(a, b);

    /// <summary>How many rows at the front of each image are wanted of the values that can be had with fewer, or
    /// <see cref="Last"/> for the last one.</summary>
    private static Dictionary<GraphValue, int> RowsNeeded(Graph graph, bool lastRows)
    {
        var needed = new Dictionary<GraphValue, int>();
        foreach (GraphValue output in graph.Outputs) needed[output] = All;
        for (int i = graph.Nodes.Count - 1; i >= 0; i--)
        {
            GraphNode node = graph.Nodes[i];
            bool passes = PassesOn(node, needed.GetValueOrDefault(node.Output, All));
            if (!passes && !IsRowWise(node)) needed[node.Output] = All;
            int rows = needed.GetValueOrDefault(node.Output, All);
            for (int o = 0; o < (passes ? 1 : node.Operands.Count); o++)
            {
                if (node.Operands[o] is not { } operand) continue;
                int here = node.Op is TakeRowsOp take ? Wanted(take, lastRows) : ReadsRow(node.Op, o, rows) ? rows : All;
                needed[operand] = Both(needed.GetValueOrDefault(operand), here);
            }
        }
        foreach (GraphValue input in graph.Inputs) needed[input] = All;
        return needed;
    }

    /// <summary>Whether the rows that are wanted are the same before the node: those in front are merged with none.</summary>
    private static bool PassesOn(GraphNode node, int rows) =>
        node.Op is MergeRowsOp merge && rows != Last && rows <= merge.Prefix;

    /// <summary>Whether each row of the result comes of the same row of the operands, but for what attention compares it with.
    /// </summary>
    private static bool IsRowWise(GraphNode node) => node.Output.Tensor.Rows is not null && node.Op is AttentionOp or UnaryOp
        or GeluOp or LinearOp or LayerNormOp or DropoutOp or SoftmaxOp or IndexSelectOp or QuantiseOp { Axis: not 0 }
        || (node.Output.Tensor.Rows is not null && node.Op is BinaryOp
            && node.Inputs.All(x => x.Tensor.Rows is null ? x.IsWeight : x.Shape == node.Output.Shape));

    /// <summary>Whether a row of the result reads that row of the operand alone.</summary>
    private static bool ReadsRow(Op op, int operand, int rows) => op is not AttentionOp attention || (operand == 0
        && (rows != Last || attention.Mask != AttentionMask.Causal || Equals(op.Inputs[0].Rows, op.Inputs[1].Rows)));

    /// <summary>GELU and a sum behind a linear layer are done while its results are stored.</summary>
    private static void JoinLinear(Graph graph)
    {
        Dictionary<GraphValue, int> uses = graph.Uses();
        foreach (GraphNode node in graph.Nodes.ToArray())
        {
            if (node.Op is not (GeluOp or AddOp)) continue;
            foreach (GraphValue operand in node.Inputs.Reverse().ToArray())
            {
                if (operand.Producer is not { Op: LinearOp linear } before || uses[operand] != 1) continue;
                // The op of a layer that has taken a sum does not know it yet; the node does.
                if (before.Operands.ElementAtOrDefault(3) is not null) continue;
                if (node.Op is GeluOp && linear.Gelu) continue;
                GraphValue? other = node.Op is GeluOp ? null : node.Inputs.First(i => i != operand);
                if (other is not null && (other.IsWeight || other.Shape != operand.Shape)) continue;
                IReadOnlyList<GraphValue?> old = before.Operands;
                node.Operands = [old[0], old[1], old.Count > 2 ? old[2] : null, other];
                // The right operands come with the refresh at the end; these only tell the op's settings.
                node.Op = new LinearOp(linear.Inputs[0], linear.Inputs[1], linear.Bias, null, linear.Gelu || node.Op is GeluOp);
                Graph.Ran(node.Op, node.Output);
                // What the layer read this node reads in its place, as often as before.
                uses[operand] = 0;
                break;
            }
        }
        graph.RemoveUnread();
    }

    /// <summary>The ReLU behind a batch norm is done while its results are stored.</summary>
    private static void JoinNorms(Graph graph)
    {
        Dictionary<GraphValue, int> uses = graph.Uses();
        foreach (GraphNode node in graph.Nodes.ToArray())
        {
            if (node.Op is not ReluOp || node.Operands[0]?.Producer is not { } before) continue;
            if (before.Op is not BatchNorm2dOp { Relu: false } norm || uses[before.Output] != 1) continue;
            node.Operands = [.. before.Operands];
            node.Op = Graph.Ran(norm.WithRelu(), node.Output);
        }
        graph.RemoveUnread();
    }

    private static int IndexOf(Graph graph, GraphNode node)
    {
        for (int i = 0; i < graph.Nodes.Count; i++) if (graph.Nodes[i] == node) return i;
        throw new ArgumentException($"{node} is not of this graph");
    }
}
