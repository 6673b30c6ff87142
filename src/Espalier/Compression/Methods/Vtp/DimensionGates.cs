using Espalier.Tensors;

namespace Espalier.Compression.Methods.Vtp;

/// <summary>
/// Gates on the inputs of every linear layer of every block of a vision transformer, four a block: what queries, keys and values
/// read, what the projection reads, and what both layers of the MLP read (arXiv 2104.08500, section 2). The residual stream stays
/// as wide as it is: behind each layer norm a list picks the channels that the layers read, at first all.
/// </summary>
internal sealed class DimensionGates
{
    private readonly Graph graph;
    private readonly List<Place> places = [];
    private float[][] scores = [];

    private DimensionGates(Graph graph) => this.graph = graph;

    /// <summary>The parameters, block after block and in the order of the forward pass.</summary>
    public Tensor[] Factors => [.. places.Select(p => p.Gate.Factors)];

    /// <exception cref="EspalierException">It is no vision transformer, or something else reads what would be gated.</exception>
    public static DimensionGates Insert(Graph graph)
    {
        var gates = new DimensionGates(graph);
        foreach (TransformerBlock block in TransformerBlocks.Of(graph).Blocks)
        {
            gates.Add(gates.Picked(block.AttentionNorm.Output), [block.Query, block.Key, block.Value]);
            gates.Add(block.Projection.Operands[0]!, [block.Projection], block.Heads);
            gates.Add(gates.Picked(block.MlpNorm.Output), [block.Fc1]);
            gates.Add(block.Fc2.Operands[0]!, [block.Fc2]);
        }
        return gates;
    }

    /// <summary>Takes the gates out: the columns that read a dimension are multiplied with its gate.</summary>
    public void Fold()
    {
        scores = [.. places.Select(p => p.Gate.Values())];
        Gate.Fold(graph, places.Select(p => p.Gate));
    }

    /// <summary>What each dimension is worth, of the groups that the selection lets go. Each head keeps one of its
    /// values.</summary>
    /// <param name="channels">Of this network, by <see cref="HeadView.EachHead"/>.</param>
    /// <param name="columns">By the sizes of the columns that read the dimensions, once gates are folded; else by the
    /// gates.</param>
    public ChannelScores Scores(DependencyGraph channels, SelectionOptions selection, bool columns)
    {
        var result = new ChannelScores();
        HashSet<ChannelGroup> candidates = [.. selection.Candidates(channels)];
        for (int i = 0; i < places.Count; i++)
        {
            (Tensor reader, HeadLayout? heads) = (places[i].Readers[0], places[i].Heads);
            var (group, entries) = channels.Of(reader, axis: 1)
                ?? throw new EspalierException($"the inputs of '{channels.Names[reader]}' cannot be removed: another layer needs "
                    + "all of them");
            if (!candidates.Contains(group)) continue;
            double[] worth = [.. entries.Select(e => e.Max(j => columns ? Norm(places[i].Readers, j) : Math.Abs(ScoreOf(i, j))))];
            result.Set(group, worth, heads is null ? null : Enumerable.Range(0, heads.Count)
                .Select(h => Enumerable.Range(0, entries.Count).Where(k => IsOf(heads, h, entries[k][0])).MaxBy(k => worth[k])));
        }
        return result;
    }

    /// <summary>Takes away lists that pick everything.</summary>
    public static void Tidy(Graph graph)
    {
        using var edit = new GraphEdit(graph);
        foreach (GraphNode pick in graph.Nodes.Where(n => n.Op is IndexSelectOp && n.Operands[1]!.IsWeight).ToArray())
        {
            if (!ChannelList.IsAll(pick.Operands[1]!.Tensor, pick.Operands[0]!.Shape[1])) continue;
            edit.Take(pick, pick.Operands[0]!);
        }
        edit.Commit();
    }

    private void Add(GraphValue value, GraphNode[] readers, HeadLayout? heads = null)
    {
        foreach (GraphNode reader in readers)
        {
            if (reader is not { Op: LinearOp } || reader.Operands[0] != value
                || reader.Operands[1] is not { IsWeight: true } weight || graph.Nodes.Count(n => n.Inputs.Contains(weight)) > 1)
                throw new EspalierException($"'{reader.Name}' does not read '{value.Name}' by a weight of its own, which a score "
                    + "could go into");
        }
        if (graph.Nodes.FirstOrDefault(n => n.Inputs.Contains(value) && !readers.Contains(n)) is { } other)
            throw new EspalierException($"'{value.Name}' is read by '{other.Name}', too, which would have to learn its scores");
        places.Add(new Place(Gate.Insert(graph, value), [.. readers.Select(r => r.Operands[1]!.Tensor)], heads));
    }

    /// <summary>What a list picks of a norm's result; the list that is there, or a new one of all channels.</summary>
    private GraphValue Picked(GraphValue norm)
    {
        if (graph.Nodes.Where(n => n.Inputs.Contains(norm)).ToArray() is [{ Op: IndexSelectOp } only]) return only.Output;
        Tensor list = Tensor.Unscoped(new Shape(norm.Shape[-1]));
        ChannelList.Fill(list);
        return graph.InsertAfter(norm, x => F.IndexSelect(x, list), [($"{norm.Name}.picked", list)]);
    }

    private static bool IsOf(HeadLayout heads, int head, int column) =>
        column >= heads.ValueColumns[head] && column < heads.ValueColumns[head + 1];

    private float ScoreOf(int place, int column) => scores.Length == 0 ? 1 : scores[place][column];

    /// <summary>The Euclidean norm of a column over all layers that read it.</summary>
    private static double Norm(Tensor[] readers, int column)
    {
        double sum = 0;
        foreach (Tensor weight in readers)
            for (int i = column; i < weight.Length; i += weight.Shape[1]) sum += (double)weight.Span[i] * weight.Span[i];
        return Math.Sqrt(sum);
    }

    /// <param name="Readers">The weights whose columns read the dimensions.</param>
    /// <param name="Heads">Of the attention that makes the dimensions.</param>
    private sealed record Place(Gate Gate, Tensor[] Readers, HeadLayout? Heads);
}
