using Espalier.Tensors;

namespace Espalier.Compression.Methods.DynamicVit;

/// <summary>
/// A network with predictors as it is trained: each decision is drawn, and multiplied with those before it, so that what is dropped
/// stays dropped. Hidden tokens stay in their rows, and a factor in the softmax of later blocks hides them; gradients come to
/// decisions through it. Packed, dropped rows are gone, and kept tokens have the logarithm of their decision, which is 0, added to
/// their scores: the same gradient, of the tokens that stay alone. It shares the network's weights.
/// </summary>
internal sealed class DynamicTraining
{
    /// <summary>What the published code adds to attention's sums.</summary>
    private const float Smoothing = 1e-6f;

    /// <summary>A noise that decides, whatever the logit is.</summary>
    private const float Certain = 1e9f;

    private readonly TransformerBlocks blocks;
    private readonly List<GraphValue> masks = [];

    // Packed, the masks of the tokens that are left.
    private GraphValue? left;

    /// <param name="network">With predictors.</param>
    public DynamicTraining(Graph network, bool packed)
    {
        Graph = network.Copy();
        var stages = TokenPredictor.Find(Graph);
        Prefix = ((KeepRowsOp)stages[0].Keep.Op).Prefix;
        Whole(Graph);
        blocks = TransformerBlocks.Of(Graph);
        for (int s = 0; s < stages.Count; s++)
        {
            TransformerBlock[] behind = [.. blocks.Blocks.SkipWhile(b => b.Input != stages[s].Keep.Operands[0])];
            if (s + 1 < stages.Count) behind = [.. behind.TakeWhile(b => b.Input != stages[s + 1].Keep.Operands[0])];
            Decide(s, stages[s].Predictor, behind, packed);
        }
        Graph.Refresh();
        Tokens = LastTokens(Graph, blocks);
    }

    /// <summary>The network with drawn decisions; it draws <see cref="Noise"/>.</summary>
    public Graph Graph { get; }

    /// <summary>Of each stage 1 for the tokens that are kept, [rows, 1].</summary>
    public IReadOnlyList<GraphValue> Masks => masks;

    /// <summary>All tokens behind the last norm, [rows, D].</summary>
    public GraphValue Tokens { get; }

    /// <summary>Tokens that always stay.</summary>
    public int Prefix { get; }

    /// <summary>Patches of an image.</summary>
    public int Patches => blocks.Tokens - Prefix;

    /// <summary>Of a stage the noise of so many rows.</summary>
    public Func<int, int, float[]> Noise { get; set; } = (_, _) => throw new InvalidOperationException("nothing was drawn");

    /// <summary>Takes predictors out of a network: every token stays.</summary>
    public static void Whole(Graph graph)
    {
        foreach (var (_, keep) in TokenPredictor.Find(graph)) graph.Redirect(keep.Output, keep.Operands[0]!, _ => true);
        graph.Refresh();
    }

    /// <summary>All tokens of the last block behind the norm that the classifier reads; of a network without one as they are.</summary>
    /// <param name="blocks">As they were found before attention was replaced.</param>
    public static GraphValue LastTokens(Graph graph, TransformerBlocks blocks)
    {
        GraphValue last = blocks.Blocks[^1].Output;
        HashSet<GraphValue> rows = [last, .. graph.Nodes.Where(n => n.Op is TakeRowsOp && n.Operands[0] == last).Select(n => n.Output)];
        GraphNode? norm = graph.Nodes.FirstOrDefault(n => n.Op is LayerNormOp && rows.Contains(n.Operands[0]!));
        return norm is null ? last : norm.Operands[0] == last ? norm.Output
            : graph.Add([last], t => FewerQueries.Again(norm, t[0]));
    }

    /// <summary>By how much the network, whose rows are gone, differs from itself with the same tokens hidden.</summary>
    /// <param name="images">[N, C, S, S].</param>
    public static float Difference(Graph network, Tensor images)
    {
        var masked = new DynamicTraining(network, packed: false);
        HashSet<GraphValue> keeps = [.. TokenPredictor.Find(network).Select(f => f.Keep.Output)];
        var kept = new List<RowSet>();
        float[] logits = network.Run([images], look: (value, t) =>
        {
            if (keeps.Contains(value)) kept.Add(t.Rows!);
        })[0].ToArray();
        masked.Noise = (stage, count) =>
        {
            float[] noise = [.. Enumerable.Repeat(-Certain, count)];
            RowSet left = kept[stage];
            for (int b = 0; b < left.Images; b++)
                for (int row = left[b]; row < left[b + 1]; row++) noise[b * (count / left.Images) + left.Tokens[row]] = Certain;
            return noise;
        };
        return Removal.Difference(logits, masked.Graph.Run([images])[0].Span);
    }

    /// <summary>
    /// Attention with a factor for each pair of a query and a key (arXiv 2106.02034, eq. 11): A = (e + ε/T) / (Σ e + ε) with
    /// e = exp(a - max a) · seen, a = q kᵀ · scale. The maximum is over hidden keys, too.
    /// </summary>
    /// <param name="seen">[B, T, T].</param>
    internal static Tensor MaskedAttention(Tensor q, Tensor k, Tensor v, Tensor seen, HeadLayout heads, float scale)
    {
        int tokens = seen.Shape[-1];
        Tensor[] images = [.. new[] { q, k, v }.Select(x => F.Split(x, 0, -1, tokens))];                        // [B, T, columns]
        var made = new Tensor[heads.Count];
        for (int h = 0; h < made.Length; h++)
        {
            int width = heads.QueryWidthOf(h);
            Tensor scores = F.MatMul(F.Slice(images[0], 2, heads.QueryColumns[h], width),
                F.Slice(images[1], 2, heads.QueryColumns[h], width), transposeB: true) * scale;                 // [B, T, T]
            Tensor values = F.Slice(images[2], 2, heads.ValueColumns[h], heads.ValueWidthOf(h));
            made[h] = F.MatMul(MaskedSoftmax(scores, seen), values);
        }
        return F.Flatten(F.Concat(2, made), 0, 1);
    }

    /// <summary>The softmax of <see cref="MaskedAttention"/>, of the last axis.</summary>
    internal static Tensor MaskedSoftmax(Tensor scores, Tensor seen)
    {
        Tensor e = F.Exp(scores - F.Max(scores, [2], keepDims: true)) * seen;
        return (e + Smoothing / seen.Shape[-1]) / (F.Sum(e, [2], keepDims: true) + Smoothing);
    }

    /// <summary>Which keys each query sees: those that are kept, and itself. mask [B · T, 1] -> [B, T, T].</summary>
    internal static Tensor Seen(Tensor mask, int tokens)
    {
        Tensor itself = Tensor.Zeros(new Shape(tokens, tokens)), others = Tensor.Full(new Shape(tokens, tokens), 1);
        for (int i = 0; i < tokens; i++) (itself.Span[i * tokens + i], others.Span[i * tokens + i]) = (1, 0);
        Tensor keys = F.Flatten(F.Split(mask, 0, -1, 1, tokens), 2, 3);                                           // [B, 1, T]
        return keys * others + itself;
    }

    /// <summary>One stage and the blocks that see what it leaves.</summary>
    private void Decide(int stage, TokenPredictor predictor, TransformerBlock[] behind, bool packed)
    {
        GraphValue stream = behind[0].Input;
        HashSet<GraphNode> readers = [.. Graph.Nodes];
        GraphValue[] before = masks.Count == 0 ? [] : [packed ? left! : masks[^1]];
        GraphValue mask = Graph.Add([stream, .. before], t =>
        {
            Tensor? there = t.ElementAtOrDefault(1);
            Tensor drawn = new DecideOp(predictor.Logits(t[0], there, Prefix, Patches), stage, Prefix, (s, n) => Noise(s, n)).Run();
            return there is null ? drawn : drawn * there;
        });
        masks.Add(mask);
        GraphValue seen;
        if (packed)
        {
            KeepRule rule = KeepRule.AtLeast(0.5f);
            GraphValue kept = Graph.Add([stream, mask], t => F.KeepRows(t[0], t[1], rule, Prefix));
            left = Graph.Add([mask], t => F.KeepRows(t[0], t[0], rule, Prefix));
            seen = Graph.Add([left], t => F.Log(t[0]));
            Graph.Redirect(stream, kept, readers.Contains);
        }
        else seen = Graph.Add([mask], t => Seen(t[0], blocks.Tokens));
        foreach (TransformerBlock block in behind)
        {
            AttentionOp op = block.AttentionOp;
            GraphValue made = Graph.Add([.. block.Attention.Operands.Take(3).OfType<GraphValue>(), seen], t => packed
                ? F.Attention(t[0], t[1], t[2], op.Heads, op.Scale, t[3])
                : MaskedAttention(t[0], t[1], t[2], t[3], op.Heads, op.Scale));
            Graph.Redirect(block.Attention.Output, made, _ => true);
        }
    }
}
