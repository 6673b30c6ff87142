using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>Tokens by their numbers, the same of every image.</summary>
internal static class TokenList
{
    /// <summary>The tokens that a value of token rows has.</summary>
    public static int[] Of(GraphValue value)
    {
        RowSet rows = value.Tensor.Rows!;
        return rows.Tokens[..rows.Length(0)].ToArray();
    }

    /// <summary>The rows of those in front and of a list of others.</summary>
    /// <param name="tokens">Rising, behind the <paramref name="prefix"/> in front.</param>
    public static Tensor Keep(Tensor x, IReadOnlyList<int> tokens, int prefix) => tokens.Count == 0 ? F.TakeRows(x, 0, prefix)
        // A list does not look at the scores.
        : F.KeepRows(x, F.Sum(x, 1), KeepRule.Tokens(tokens), prefix);

    /// <summary>What a network gives where no query sees a token that its block is not to see: the class token's row is that of
    /// the network without them.</summary>
    /// <param name="seen">Numbers of the tokens that each block sees, those in front among them.</param>
    public static float[] Masked(Graph graph, Tensor images, IReadOnlyList<IReadOnlyList<int>> seen)
    {
        using var scope = new Scope();
        Graph copy = graph.Copy();
        foreach (TransformerBlock block in TransformerBlocks.Of(copy).Blocks)
        {
            int[] there = Of(block.Input);
            Tensor mask = Tensor.From(new Shape(1, there.Length), [.. there.Select(t => seen[block.Index].Contains(t) ? 1f : 0)]);
            Hide(copy, block, mask);
        }
        copy.Refresh();
        return copy.Run(images).ToArray();
    }

    /// <summary>Lets no query of a block see keys of 0.</summary>
    /// <param name="mask">[1, T], the same of every image.</param>
    /// <param name="bias">[1, T], added to the scores of keys where attention has no bias of its own; null for none.</param>
    public static void Hide(Graph graph, TransformerBlock block, Tensor mask, Tensor? bias = null) =>
        Hide(graph, block.Attention, mask, bias);

    /// <summary>The same of any attention over all tokens.</summary>
    public static void Hide(Graph graph, GraphNode node, Tensor mask, Tensor? bias)
    {
        var op = (AttentionOp)node.Op;
        GraphValue[] operands = [.. node.Inputs, graph.Inputs[0]];
        bool biased = node.Operands.ElementAtOrDefault(3) is not null;
        GraphValue masked = graph.Add(operands, t =>
        {
            Tensor OfKeys(Tensor x) => F.Reshape(F.Repeat(x, t[^1]), [t[1].Shape[0]]);
            return F.Attention(t[0], t[1], t[2], op.Heads, op.Scale, biased ? t[3] : bias is null ? null : OfKeys(bias), OfKeys(mask), op.Mask);
        });
        graph.Redirect(node.Output, masked, _ => true);
    }
}
