using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>What behind the last block of a transformer reads its patches.</summary>
/// <param name="Means">Means over rows.</param>
/// <param name="Attention">Attention of a learned query over all rows; null where there is none.</param>
/// <param name="Other">A node that reads patches in another way; null where there is none.</param>
internal sealed record PatchPools(IReadOnlyList<GraphNode> Means, GraphNode? Attention, GraphNode? Other)
{
    public static PatchPools Of(TransformerBlocks blocks)
    {
        HashSet<GraphValue> ends = [blocks.Blocks[^1].Output];
        HashSet<GraphNode> attended = Before(blocks.Graph, blocks.PoolAttention);
        List<GraphNode> means = [];
        GraphNode? other = null;
        foreach (GraphNode node in blocks.Graph.Nodes.Where(n => n.Inputs.Any(ends.Contains)))
        {
            if (node.Op is LayerNormOp or DropoutOp) ends.Add(node.Output);
            else if (node.Op is RowMeanOp) means.Add(node);
            else if (attended.Contains(node)) continue;
            else if (node.Op is not TakeRowsOp take || take.Start < 0 || take.Start + take.Count > blocks.PrefixTokens) other ??= node;
        }
        return new PatchPools(means, blocks.PoolAttention, other);
    }

    /// <summary>Lets a mean count each row as often as there are patches in it.</summary>
    /// <param name="sizes">[rows] numbers of patches; where the mean reads tokens in front, 1 of those.</param>
    public static void Weigh(Graph graph, GraphNode mean, GraphValue sizes)
    {
        GraphValue rows = mean.Operands[0]!;
        int prefix = ((RowMeanOp)mean.Op).Prefix;
        GraphValue weighed = graph.Add([rows, sizes], t =>
        {
            Tensor column = F.Split(t[1], 0, -1, 1);
            return F.Mul(t[0], F.Div(column, F.RowMean(column, prefix)));
        });
        graph.Redirect(rows, weighed, node => node == mean);
        graph.Refresh();
    }

    /// <summary>Lets attention count each key as often as there are patches in it.</summary>
    /// <param name="attention">Without a bias of its own.</param>
    public static void Count(Graph graph, GraphNode attention, GraphValue sizes)
    {
        var op = (AttentionOp)attention.Op;
        GraphValue counted = graph.Add([.. attention.Operands.Take(3).OfType<GraphValue>(), sizes],
            t => F.Attention(t[0], t[1], t[2], op.Heads, op.Scale, F.Log(t[3]), mask: op.Mask));
        graph.Redirect(attention.Output, counted, _ => true);
        graph.Refresh();
    }

    /// <summary>All that a node is made of.</summary>
    private static HashSet<GraphNode> Before(Graph graph, GraphNode? node)
    {
        if (node is null) return [];
        HashSet<GraphValue> needed = [node.Output];
        HashSet<GraphNode> before = [];
        foreach (GraphNode earlier in graph.Nodes.Reverse().Where(n => needed.Contains(n.Output)))
        {
            before.Add(earlier);
            needed.UnionWith(earlier.Inputs);
        }
        return before;
    }
}
