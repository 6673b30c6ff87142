namespace Espalier.Tensors;

/// <summary>A stretch of a graph's nodes between two values that everything passes through.</summary>
/// <param name="From">What it begins with; values of the whole graph.</param>
/// <param name="To">What it ends with, and outputs of the graph on the way.</param>
/// <param name="Part">The stretch as a graph of its own.</param>
internal sealed record GraphSection(GraphValue[] From, GraphValue[] To, Graph Part);

/// <summary>What a recorded run keeps of its results until the backward pass has come by, an image of the example. About: some
/// ops keep a little more than their result.</summary>
/// <param name="Whole">Bytes of all results.</param>
/// <param name="Checkpointed">Bytes of the results between sections and of the largest section.</param>
/// <param name="Sections">Into how many sections the graph is cut.</param>
/// <param name="Recomputed">What is computed a second time, as a share of the forward pass's multiply-adds.</param>
public readonly record struct ActivationMemory(long Whole, long Checkpointed, int Sections, double Recomputed);

/// <summary>
/// A graph in sections, for training that keeps only the values between them and computes the rest again in the backward pass
/// (Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174). A cut is where one value alone is alive:
/// between two blocks of a transformer it is the token stream, in a residual network the map that a block begins with. Of all
/// cuts those are taken that need the least memory: the values at the cuts, and the largest section, which is there whole while
/// it is gone back through.
/// </summary>
internal sealed class GraphSections
{
    /// <summary>Limits of a section that are tried, each a little larger than the one before.</summary>
    private const double NextLimit = 1.1;

    private readonly Graph graph;
    private readonly List<(int Node, GraphValue Value)> cuts = [];
    private readonly long[] before;

    public GraphSections(Graph graph)
    {
        this.graph = graph;
        before = new long[graph.Nodes.Count + 1];
        for (int i = 0; i < graph.Nodes.Count; i++) before[i + 1] = before[i] + Bytes(graph.Nodes[i]);
        FindCuts();
        var (best, bytes) = Best();
        Sections = [.. Cut(best)];
        long images = graph.Inputs[0].Shape[0];
        double all = MultiplyAdds(graph), last = MultiplyAdds(Sections[^1].Part);
        Memory = new ActivationMemory(before[^1] / images, bytes / images, Sections.Count, all > 0 ? (all - last) / all : 0);
    }

    public IReadOnlyList<GraphSection> Sections { get; }

    public ActivationMemory Memory { get; }

    /// <summary>The places where one value alone is read later on. Outputs of the graph are kept in any case, and do not
    /// count.</summary>
    private void FindCuts()
    {
        var last = new Dictionary<GraphValue, int>();
        for (int i = 0; i < graph.Nodes.Count; i++)
            foreach (GraphValue input in graph.Nodes[i].Inputs)
                if (!input.IsWeight) last[input] = i;
        HashSet<GraphValue> alive = [.. graph.Inputs.Where(last.ContainsKey)];
        for (int i = 0; i < graph.Nodes.Count; i++)
        {
            if (last.ContainsKey(graph.Nodes[i].Output)) alive.Add(graph.Nodes[i].Output);
            alive.RemoveWhere(v => last[v] <= i);
            if (alive.Count == 1 && alive.First() is { Producer: not null } one && (cuts.Count == 0 || cuts[^1].Value != one))
                cuts.Add((i + 1, one));
        }
    }

    /// <summary>
    /// The cuts that need the least: for each limit of a section's bytes, those whose own bytes are the fewest, by the shortest
    /// way from the front of the graph to its end.
    /// </summary>
    private (List<int> Cuts, long Bytes) Best()
    {
        (List<int>, long Bytes) best = ([], before[^1]);
        for (double limit = Math.Max(1, before[^1] / 1000.0); limit < before[^1]; limit *= NextLimit)
            if (Fewest((long)limit) is { } way && way.Bytes < best.Bytes) best = way;
        return best;
    }

    /// <returns>The cuts, and their bytes together with those of the largest section; null where a single step between two cuts
    /// is larger than the limit.</returns>
    private (List<int> Cuts, long Bytes)? Fewest(long limit)
    {
        int end = cuts.Count;
        var kept = new long[end + 1];
        int[] from = new int[end + 1];
        for (int to = 0; to <= end; to++)
        {
            (kept[to], from[to]) = (long.MaxValue, -1);
            for (int start = to - 1; start >= -1; start--)
            {
                if (Between(start, to) > limit) break;
                long way = start < 0 ? 0 : kept[start];
                if (way < kept[to]) (kept[to], from[to]) = (way, start);
            }
            if (kept[to] == long.MaxValue) continue;
            if (to < end) kept[to] += sizeof(float) * cuts[to].Value.Tensor.Length;
        }
        if (kept[end] == long.MaxValue) return null;
        List<int> found = [];
        long largest = Between(from[end], end);
        for (int at = from[end]; at >= 0; at = from[at])
        {
            found.Add(at);
            largest = Math.Max(largest, Between(from[at], at));
        }
        found.Reverse();
        return (found, kept[end] + largest);
    }

    /// <summary>Bytes of the results between two cuts; -1 is the front, and as many as there are the end.</summary>
    private long Between(int start, int to) =>
        before[to == cuts.Count ? graph.Nodes.Count : cuts[to].Node] - before[start < 0 ? 0 : cuts[start].Node];

    private IEnumerable<GraphSection> Cut(List<int> at)
    {
        int first = 0;
        GraphValue[] from = [.. graph.Inputs];
        HashSet<GraphValue> outputs = [.. graph.Outputs];
        foreach (int cut in at)
        {
            var (node, value) = cuts[cut];
            GraphValue[] to = [value, .. OutputsIn(first, node).Where(o => o != value)];
            yield return new GraphSection(from, to, graph.Between(from, to));
            (first, from) = (node, [value]);
        }
        GraphValue[] rest = [.. OutputsIn(first, graph.Nodes.Count)];
        yield return new GraphSection(from, rest, graph.Between(from, rest));

        IEnumerable<GraphValue> OutputsIn(int start, int end) =>
            graph.Nodes.Skip(start).Take(end - start).Select(n => n.Output).Where(outputs.Contains);
    }

    private static double MultiplyAdds(Graph graph) => graph.Nodes.Sum(n => (double)n.Op.Cost.MultiplyAdds);

    /// <summary>What a recorded node keeps until the backward pass; a view keeps nothing of its own.</summary>
    private static long Bytes(GraphNode node) => node.Op switch
    {
        ReshapeOp => 0,
        LinearOp { Gelu: true } => 2 * sizeof(float) * node.Output.Tensor.Length,
        _ => sizeof(float) * node.Output.Tensor.Length,
    };
}
