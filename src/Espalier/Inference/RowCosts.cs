using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>
/// Multiply-adds of one image as a function of how many of its tokens are left where: of the graph as it stands, so that what a
/// session leaves out or folds is counted, as the literature does.
/// </summary>
internal sealed class RowCosts
{
    private readonly List<Item> items = [];
    private readonly List<int> whole;

    public RowCosts(Graph graph)
    {
        GraphValue input = graph.Inputs[0];
        int images = input.Tensor.Rows?.Images ?? input.Shape[0];
        HashSet<GraphNode> scoring = Scoring(graph);
        var constants = new HashSet<GraphValue>(graph.Weights.Values);
        // Of values that are token rows: after which number of drops; -1 where each image has the same.
        var stages = new Dictionary<GraphValue, int>();
        var after = new List<int>();
        // Of each drop: how many rows there are where nothing is dropped.
        var whole = new List<int>();
        int blocks = 0;
        foreach (GraphNode node in graph.Nodes)
        {
            if (node.Inputs.All(constants.Contains))
            {
                constants.Add(node.Output);
                continue;
            }
            GraphValue[] rows = [.. node.Inputs.Where(i => i.Tensor.Rows is not null)];
            int first = rows.Length == 0 ? -1 : stages.GetValueOrDefault(rows[0], -1);
            bool attends = node.Op is AttentionOp;
            int other = attends && rows.Length > 1 ? stages.GetValueOrDefault(rows[1], -1) : -1;
            if (node.Op is KeepRowsOp)
            {
                after.Add(blocks - 1);
                whole.Add(first < 0 ? Most(rows, 0) : whole[first]);
                stages[node.Output] = after.Count - 1;
            }
            else if (node.Output.Tensor.Rows is not null && node.Op is not TakeRowsOp) stages[node.Output] = first;
            if (attends) blocks++;
            if (node.Op.Cost.MultiplyAdds == 0) continue;
            double cost = node.Op.Cost.MultiplyAdds / (double)images;
            items.Add(new Item(cost, Most(rows, 0), first, attends ? Most(rows, 1) : 1, other, scoring.Contains(node)));
        }
        (KeepsAfter, this.whole) = (after, whole);
        Dense = Of([0]);

        static int Most(GraphValue[] rows, int i) => i < rows.Length ? Math.Max(1, rows[i].Tensor.Rows!.MaxLength) : 1;
    }

    /// <summary>With all tokens, where nothing is asked that decides on them.</summary>
    public long Dense { get; }

    /// <summary>Of each place where rows are dropped: after which attention block (0-based), -1 before the first.</summary>
    public IReadOnlyList<int> KeepsAfter { get; }

    /// <param name="tokens">Tokens at first and after each drop; one entry where nothing was dropped.</param>
    public long Of(ReadOnlySpan<int> tokens)
    {
        bool drops = tokens.Length > 1;
        if (drops && tokens.Length != 1 + KeepsAfter.Count)
            throw new ArgumentException($"{tokens.Length} numbers of tokens where they are dropped {KeepsAfter.Count} times");
        double sum = 0;
        foreach (Item item in items)
        {
            if (!drops && item.Scores) continue;
            double share = Share(item.First, item.MostFirst, tokens) * Share(item.Other, item.MostOther, tokens);
            sum += item.Cost * share;
        }
        return (long)Math.Round(sum);
    }

    private double Share(int stage, int most, ReadOnlySpan<int> tokens) =>
        stage < 0 ? 1 : (tokens.Length == 1 ? whole[stage] : tokens[1 + stage]) / (double)most;

    /// <summary>Nodes that only make scores for rows to be kept by.</summary>
    private static HashSet<GraphNode> Scoring(Graph graph)
    {
        var results = new HashSet<GraphValue>(graph.Outputs);
        var scoring = new HashSet<GraphNode>();
        for (int i = graph.Nodes.Count - 1; i >= 0; i--)
        {
            GraphNode node = graph.Nodes[i];
            if (!results.Contains(node.Output)) scoring.Add(node);
            else if (node.Op is KeepRowsOp) results.Add(node.Operands[0]!);
            else results.UnionWith(node.Inputs);
        }
        return scoring;
    }

    /// <param name="First">Which rows it goes with, or -1; of attention the queries.</param>
    /// <param name="MostFirst">Those of an image in the example.</param>
    /// <param name="Other">Of attention the keys.</param>
    /// <param name="Scores">Whether it only decides what is dropped.</param>
    private readonly record struct Item(double Cost, int MostFirst, int First, int MostOther, int Other, bool Scores);
}
