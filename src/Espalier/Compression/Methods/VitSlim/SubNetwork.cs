using Espalier.Tensors;

namespace Espalier.Compression.Methods.VitSlim;

/// <summary>What stays of one block, entry by entry.</summary>
/// <param name="Tokens">Numbers of the tokens that the block sees, those in front among them.</param>
internal sealed record BlockKept(bool[] Attention, bool[] Hidden, int[] Tokens);

/// <summary>A sub-network that masks choose for given budgets, and its cut.</summary>
internal sealed class SubNetwork(IReadOnlyList<BlockKept> kept)
{
    public IReadOnlyList<BlockKept> Kept => kept;

    /// <summary>
    /// Which entries of all blocks stay: by the published rule those of at least the value at place int((1 - budget) n) in rising
    /// order; by count all but floor((1 - budget) n), of equal ones the first go.
    /// </summary>
    /// <param name="fewest">Entries that each block keeps in any case, its largest.</param>
    public static bool[][] Choose(IReadOnlyList<double[]> values, double budget, SlimRule rule, Func<int, int> fewest)
    {
        (int Block, int Entry, double Value)[] order =
            [.. values.SelectMany((v, b) => v.Select((x, i) => (b, i, x))).OrderBy(e => e.x)];
        int goes = Math.Min(order.Length, (int)((1 - budget) * order.Length + (rule == SlimRule.Count ? 1e-9 : 0)));
        if (rule == SlimRule.Threshold && goes < order.Length)
        {
            double threshold = order[goes].Value;
            goes = order.Count(e => e.Value < threshold);
        }
        bool[][] stays = [.. values.Select(v => Enumerable.Repeat(true, v.Length).ToArray())];
        foreach (var (block, entry, _) in order.Take(goes)) stays[block][entry] = false;
        for (int b = 0; b < stays.Length; b++)
        {
            int[] largest = [.. Enumerable.Range(0, values[b].Length).OrderByDescending(i => values[b][i])];
            foreach (int i in largest.Take(fewest(largest.Length))) stays[b][i] = true;
        }
        return stays;
    }

    /// <summary>A token that a later block needs stays in all before: from the last block to the first.</summary>
    public static void Nest(bool[][] tokens)
    {
        for (int b = tokens.Length - 2; b >= 0; b--)
            for (int t = 0; t < tokens[b].Length; t++) tokens[b][t] |= tokens[b + 1][t];
    }

    /// <summary>The narrowest of all, where what is searched keeps its least and no token but those in front. What is not
    /// searched stays whole, and so does a kind whose own budget is all of it; other budgets say nothing of a single block.</summary>
    public static SubNetwork Least(Graph graph, VitSlim options)
    {
        TransformerBlocks blocks = TransformerBlocks.Of(graph);
        return new SubNetwork([.. blocks.Blocks.Select(b => new BlockKept(
            Dimensions(b.Heads), First(b.Fc2.Operands[0]!.Shape[-1]),
            [.. TokenList.Of(b.Input).Where(t => Whole(options.TokenWeight, options.Tokens) || t < blocks.PrefixTokens)]))]);

        bool[] Dimensions(HeadLayout heads)
        {
            int[] masks = SoftMasks.MaskOf(options.Shared, heads);
            int fewest = options.FewestMasks(masks.Max() + 1);
            return [.. masks.Select(m => Whole(options.AttentionWeight, options.Attention) || m < fewest)];
        }

        bool[] First(int count) => [.. Enumerable.Range(0, count)
            .Select(i => Whole(options.HiddenWeight, options.Hidden) || i < options.Selection.Fewest(count))];

        static bool Whole(double weight, double budget) => weight == 0 || budget == 1;
    }

    /// <summary>Whether there are tokens that go.</summary>
    public bool Drops(Graph graph) =>
        TransformerBlocks.Of(graph).Blocks.Any(b => TokenList.Of(b.Input).Length != kept[b.Index].Tokens.Length);

    /// <summary>Drops tokens in front of the blocks that do not keep them.</summary>
    public void DropTokens(Graph graph)
    {
        TransformerBlocks blocks = TransformerBlocks.Of(graph);
        foreach (TransformerBlock block in blocks.Blocks)
        {
            int[] tokens = kept[block.Index].Tokens;
            if (block.Input.Tensor.Rows!.Length(0) == tokens.Length) continue;
            int[] list = [.. tokens.Where(t => t >= blocks.PrefixTokens)];
            graph.InsertAfter(block.Input, x => TokenList.Keep(x, list, blocks.PrefixTokens));
        }
    }

    /// <summary>What the network gives where no query sees a key that its block drops.</summary>
    public float[] MaskedTokens(Graph graph, Tensor images) => TokenList.Masked(graph, images, [.. kept.Select(k => k.Tokens)]);

    /// <summary>The channels that go: of each dimension of a head its query, key and value.</summary>
    public RemovalPlan Plan(DependencyGraph channels)
    {
        var plan = new RemovalPlan();
        foreach (TransformerBlock block in TransformerBlocks.Of(channels.Network).Blocks)
        {
            (bool[] attention, bool[] hidden) = (kept[block.Index].Attention, kept[block.Index].Hidden);
            Add(block.Query, attention);
            Add(block.Value, attention);
            Add(block.Fc1, hidden);
        }
        return plan;

        void Add(GraphNode layer, bool[] stays)
        {
            if (!stays.Contains(false)) return;
            var (group, entries) = channels.Of(layer.Operands[1]!.Tensor, axis: 0)
                ?? throw new EspalierException($"what '{layer.Name}' makes cannot be removed: another layer needs all of it");
            plan.Add(group, Enumerable.Range(0, group.Count).Where(k => entries[k].All(e => !stays[e])));
        }
    }

    /// <summary>Multiply-adds for one image of a network so cut, which is left as it is.</summary>
    public long MultiplyAdds(Graph graph, Tensor image)
    {
        Graph copy = graph.Copy();
        DropTokens(copy);
        using var channels = DependencyGraph.Build(copy, image, HeadView.EachHead);
        return channels.MultiplyAdds(Plan(channels));
    }
}
