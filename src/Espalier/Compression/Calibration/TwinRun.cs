using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Two networks of one graph side by side, op after op over all batches: the graph as it is, and the one in which some weights hold
/// other values. What both have in common is computed once. Values are freed after their last use, so that what is held is the
/// widest place of the network for all images.
/// </summary>
internal sealed class TwinRun
{
    private readonly Dictionary<GraphValue, (Tensor Full, Tensor Small)>[] values;
    private readonly Dictionary<Tensor, Tensor> changed;
    private readonly Dictionary<GraphValue, int> left;

    /// <param name="changed">The other values of weights of the second network; may grow while this runs.</param>
    public TwinRun(Graph graph, IReadOnlyList<Tensor> batches, Dictionary<Tensor, Tensor> changed)
    {
        this.changed = changed;
        values = [.. batches.Select(b => new Dictionary<GraphValue, (Tensor, Tensor)> { [graph.Inputs[0]] = (b, b) })];
        left = graph.Uses();
    }

    public int Batches => values.Length;

    /// <summary>The values of one operand or result in a batch.</summary>
    public (Tensor Full, Tensor Small) this[int batch, GraphValue value] => values[batch][value];

    /// <summary>Whether the second network has another value there.</summary>
    public bool Differs(GraphValue value) =>
        value.IsWeight ? changed.ContainsKey(value.Tensor) : values[0].TryGetValue(value, out var twin) && twin.Full != twin.Small;

    /// <summary>Mean and variance of each channel of a value in both networks, over all batches.</summary>
    public (ChannelStatistics Full, ChannelStatistics Small) Statistics(GraphValue value, int channels, bool last = false)
    {
        ChannelStatistics full = new(channels, last), small = new(channels, last);
        foreach (var batch in values)
        {
            full.Add(batch[value].Full);
            small.Add(batch[value].Small);
        }
        return (full, small);
    }

    /// <summary>Puts something else in the place of a value of the second network.</summary>
    public void Change(int batch, GraphValue value, Tensor small)
    {
        var (full, old) = values[batch][value];
        if (old != full) old.Dispose();
        values[batch][value] = (full, small);
    }

    /// <summary>Runs an op in the first network.</summary>
    public void RunFull(GraphNode node)
    {
        foreach (var batch in values)
        {
            Tensor y = Run(node, [.. node.Operands.Select(o => o is null ? null : o.IsWeight ? o.Tensor : batch[o].Full)]);
            batch[node.Output] = (y, y);
        }
    }

    /// <summary>Runs it in the second, where anything is different there.</summary>
    public void RunSmall(GraphNode node)
    {
        if (!node.Inputs.Any(Differs)) return;
        for (int b = 0; b < values.Length; b++)
        {
            var batch = values[b];
            Tensor?[] operands = [.. node.Operands.Select(o => o is null ? null : o.IsWeight ? changed.GetValueOrDefault(o.Tensor, o.Tensor)
                : batch[o].Small)];
            // Both networks keep the same tokens, so that their rows can be compared.
            if (node.Op is KeepRowsOp) operands[1] = batch[node.Operands[1]!].Full;
            Change(b, node.Output, Run(node, operands));
        }
    }

    /// <summary>Frees what nobody reads after this op.</summary>
    public void Free(GraphNode node)
    {
        foreach (GraphValue value in node.Inputs.Where(v => v is { IsWeight: false, Producer: not null }))
        {
            if (--left[value] == 0) Free(value);
        }
        if (!left.ContainsKey(node.Output)) Free(node.Output);
    }

    /// <summary>Floats of an image that are held at the widest place of a graph, in one network.</summary>
    public static long Widest(Graph graph)
    {
        Dictionary<GraphValue, int> uses = graph.Uses();
        long held = 0, most = 0;
        foreach (GraphNode node in graph.Nodes)
        {
            held += node.Output.Shape.Length;
            most = Math.Max(most, held);
            foreach (GraphValue value in node.Inputs.Where(v => v is { IsWeight: false, Producer: not null }))
                if (--uses[value] == 0) held -= value.Shape.Length;
        }
        return most / graph.Inputs[0].Shape[0];
    }

    private static Tensor Run(GraphNode node, Tensor?[] operands)
    {
        using var scope = new Scope();
        return node.Op.On(operands).Run().Keep();
    }

    private void Free(GraphValue value)
    {
        foreach (var batch in values)
        {
            if (!batch.Remove(value, out var twin)) continue;
            if (twin.Small != twin.Full) twin.Small.Dispose();
            twin.Full.Dispose();
        }
    }
}
