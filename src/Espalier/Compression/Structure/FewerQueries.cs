using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// A block in which only some tokens ask: queries, and the stream that attention is added to, are of the tokens that stay, and so
/// is all behind; keys and values are of all tokens that came in.
/// </summary>
internal static class FewerQueries
{
    /// <exception cref="EspalierException">A block's queries are not simply a linear layer of its norm.</exception>
    public static void Check(TransformerBlocks blocks, string method)
    {
        foreach (TransformerBlock block in blocks.Blocks)
            if (block.Query.Operands[0] != block.AttentionNorm.Output || block.Attention.Operands[0] != block.Query.Output)
                throw new EspalierException($"{method}: block {block.Index} does something to its queries beside their layer");
    }

    /// <param name="others">Values behind the stream in what <paramref name="keep"/> gets.</param>
    /// <param name="keep">The rows of the stream that stay.</param>
    public static void Insert(
        Graph graph, TransformerBlock block, IReadOnlyList<GraphValue> others, Func<Tensor[], Tensor> keep)
    {
        GraphValue stream = block.Input;
        // Behind keys and values, which read the stream as it is.
        GraphValue[] before = [stream, .. others, block.Attention.Operands[1]!, block.Attention.Operands[2]!];
        GraphValue kept = graph.Add(before, keep);
        GraphValue q = graph.Add([kept, .. before], t => Again(block.Query, Again(block.AttentionNorm, t[0])));
        graph.Redirect(block.Query.Output, q, node => node == block.Attention);
        graph.Redirect(stream, kept, node => node == block.AttentionSum);
        graph.Refresh();
    }

    /// <summary>A layer of the graph on another value.</summary>
    public static Tensor Again(GraphNode layer, Tensor x) =>
        layer.Op.On([x, .. layer.Operands.Skip(1).Select(o => o?.Tensor)]).Run();
}
