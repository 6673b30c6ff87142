using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// What a network whose rows of tokens become fewer must equal: the one before, in which all tokens keep their rows and no query
/// sees those that are gone. Where rows become one, a fused or a merged one, the row of the token that it goes under becomes
/// their sum. Heads that pool count a merged one as often as it has tokens. Which tokens those are, image by image, is what the
/// shorter run chose.
/// </summary>
internal static class HiddenTokens
{
    /// <summary>How far the two are apart.</summary>
    /// <param name="whole">The network before, with all tokens of every block.</param>
    /// <param name="shortened">The same with ops that drop or merge rows in its blocks.</param>
    /// <param name="images">[N, C, S, S].</param>
    public static float Difference(Graph whole, Graph shortened, Tensor images)
    {
        float largest = 0;
        int size = (int)(images.Length / images.Shape[0]);
        for (int i = 0; i < images.Shape[0]; i++)
        {
            using var scope = new Scope();
            Tensor image = Tensor.From(images.Shape.With(0, 1), images.Span.Slice(i * size, size).ToArray());
            var seen = new Dictionary<GraphValue, Seen>();
            float[] logits = shortened.Run([image], look: (value, t) => seen[value] = new Seen(t))[0].ToArray();
            largest = Math.Max(largest, Removal.Difference(Hidden(whole, shortened, seen).Run(image).Span, logits));
        }
        return largest;
    }

    /// <summary>The network before, hiding what one image's run of the shorter one had not.</summary>
    private static Graph Hidden(Graph whole, Graph shortened, Dictionary<GraphValue, Seen> seen)
    {
        Graph copy = whole.Copy();
        TransformerBlocks blocks = TransformerBlocks.Of(copy);
        int tokens = blocks.Tokens;
        // Found before attention is another op than they know.
        TransformerBlock[] full = [.. blocks.Blocks];
        bool pools = blocks.PoolsPatches;
        TransformerBlocks ofShortened = TransformerBlocks.Of(shortened);
        PatchPools pooled = PatchPools.Of(blocks);
        Tensor? merged = null;
        foreach (var (block, small) in full.Zip(ofShortened.Blocks))
        {
            Seen keys = seen[small.Attention.Operands[1]!];
            GraphValue? bias = small.Attention.Operands.ElementAtOrDefault(3), own = block.Attention.Operands.ElementAtOrDefault(3);
            Tensor? sizes = bias is null || own is not null ? null : Spread(keys.Tokens, seen[bias].Values, tokens);
            TokenList.Hide(copy, block, Spread(keys.Tokens, 1, tokens), sizes);
            if (small.MlpInput != small.AfterAttention && Sums(small, seen, tokens) is { } sums) Fuse(copy, block.AfterAttention, sums);
            if (Sizes(small, seen) is { } sizesBehind) merged = Spread(seen[small.MlpInput].Tokens, sizesBehind, tokens);
        }
        if (pools)
        {
            Tensor left = Spread(seen[ofShortened.Blocks[^1].Output].Tokens, 1, tokens);
            if (merged is not null) Weigh(copy, pooled, ofShortened.PoolAttention, seen, left, merged);
            else
            {
                // A mean over all patches has no mask: it reads those that are left.
                copy.InsertAfter(full[^1].Output, [copy.Inputs[0]], t => F.KeepRows(t[0],
                    F.Reshape(F.Repeat(left, t[1]), [t[0].Shape[0]]), KeepRule.AtLeast(0.5f), blocks.PrefixTokens));
            }
        }
        copy.Refresh();
        return copy;
    }

    /// <summary>Which sums of rows take the place of rows: [1, T, T], zeros for those that stay as they are; null where rows are
    /// only dropped.</summary>
    private static Tensor? Sums(TransformerBlock block, Dictionary<GraphValue, Seen> seen, int tokens)
    {
        GraphNode op = block.MlpInput.Producer!;
        int[] before = seen[block.AfterAttention].Tokens, after = seen[block.MlpInput].Tokens;
        float[] second = seen[op.Operands[1]!].Values;
        var sums = new float[tokens * tokens];
        if (op.Op is KeepRowsOp { Fuse: true } && after.Length < before.Length)
        {
            int[] gone = [.. Enumerable.Range(0, before.Length).Where(row => !after[..^1].Contains(before[row]))];
            foreach (int row in gone) sums[after[^1] * tokens + before[row]] += second[row];
            sums[after[^1] * tokens + after[^1]] -= 1;
        }
        else if (op.Op is MergeRowsOp)
        {
            float[]? sizes = op.Operands.ElementAtOrDefault(2) is { } w ? seen[w].Values : null;
            float[] all = Sizes(block, seen)!;
            for (int row = 0; row < before.Length; row++)
                sums[after[(int)second[row]] * tokens + before[row]] += (sizes?[row] ?? 1) / all[(int)second[row]];
            foreach (int token in after) sums[token * tokens + token] -= 1;
        }
        else return null;
        return Tensor.From(new Shape(1, tokens, tokens), sums);
    }

    /// <summary>How many tokens each row behind a merge stands for; null where a block merges none.</summary>
    private static float[]? Sizes(TransformerBlock block, Dictionary<GraphValue, Seen> seen)
    {
        if (block.MlpInput.Producer is not { Op: MergeRowsOp } merge) return null;
        float[] places = seen[merge.Operands[1]!].Values, sizes = new float[seen[block.MlpInput].Tokens.Length];
        float[]? before = merge.Operands.ElementAtOrDefault(2) is { } w ? seen[w].Values : null;
        for (int row = 0; row < places.Length; row++) sizes[(int)places[row]] += before?[row] ?? 1;
        return sizes;
    }

    /// <summary>What pools reads all tokens, each as often as it was merged, and those that are gone never. Sizes add up to all
    /// tokens, so that a mean divides by the same number.</summary>
    /// <param name="shorter">The attention of the shorter network that pools.</param>
    /// <param name="left">[1, T], 1 of tokens that are left.</param>
    /// <param name="merged">[1, T] sizes of tokens.</param>
    private static void Weigh(Graph graph, PatchPools pooled, GraphNode? shorter, Dictionary<GraphValue, Seen> seen, Tensor left,
        Tensor merged)
    {
        foreach (GraphNode mean in pooled.Means)
        {
            GraphValue rows = mean.Operands[0]!;
            GraphValue weighed = graph.Add([rows, graph.Inputs[0]], t =>
                F.Mul(t[0], F.Reshape(F.Repeat(merged, t[1]), t[0].Shape[0], 1)));
            graph.Redirect(rows, weighed, node => node == mean);
        }
        if (pooled.Attention is not { } attention) return;
        GraphValue? bias = shorter!.Operands.ElementAtOrDefault(3), own = attention.Operands.ElementAtOrDefault(3);
        Tensor? sizes = bias is null || own is not null ? null
            : Spread(seen[shorter.Operands[1]!].Tokens, seen[bias].Values, left.Shape[1]);
        TokenList.Hide(graph, attention, left, sizes);
    }

    private static void Fuse(Graph graph, GraphValue stream, Tensor sums) => graph.InsertAfter(stream, [graph.Inputs[0]], t =>
        F.Add(t[0], F.Flatten(F.MatMul(F.Repeat(sums, t[1]), F.Split(t[0], 0, -1, sums.Shape[1])), 0, 1)));

    /// <summary>[1, T]: values of some tokens, and zeros.</summary>
    private static Tensor Spread(int[] some, float value, int tokens) => Spread(some, [.. some.Select(_ => value)], tokens);

    private static Tensor Spread(int[] some, float[] values, int tokens)
    {
        var all = new float[tokens];
        for (int i = 0; i < some.Length; i++) all[some[i]] = values[i];
        return Tensor.From(new Shape(1, tokens), all);
    }

    /// <summary>What a value of one image was, which is freed after its last use.</summary>
    private sealed class Seen(Tensor value)
    {
        public int[] Tokens { get; } = value.Rows is { } rows ? rows.Tokens.ToArray() : [];

        public float[] Values { get; } = value.Rank > 0 && value.Length == value.Shape[0] ? value.ToArray() : [];
    }
}
