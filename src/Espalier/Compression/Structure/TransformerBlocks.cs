using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// One pre-norm block of a transformer: x + Projection(Attention(LN(x))), then x + Fc2(act(Fc1(LN(x)))), by the nodes of its
/// graph. Nodes stay what they are where something is inserted; shapes and widths are asked of them.
/// </summary>
public sealed record TransformerBlock
{
    /// <summary>From 0.</summary>
    public required int Index { get; init; }

    /// <summary>The layer norm in front of keys and values.</summary>
    public required GraphNode AttentionNorm { get; init; }

    /// <summary>The one in front of the queries: the same, but where these are of fewer tokens.</summary>
    public required GraphNode QueryNorm { get; init; }

    /// <summary>The linear layer that makes the queries; <see cref="Key"/> and <see cref="Value"/> likewise.</summary>
    public required GraphNode Query { get; init; }

    public required GraphNode Key { get; init; }

    public required GraphNode Value { get; init; }

    public required GraphNode Attention { get; init; }

    /// <summary>The linear layer behind attention.</summary>
    public required GraphNode Projection { get; init; }

    /// <summary>The sum behind the projection, which <see cref="AfterAttention"/> is the value of.</summary>
    public required GraphNode AttentionSum { get; init; }

    public required GraphNode MlpNorm { get; init; }

    public required GraphNode Fc1 { get; init; }

    public required GraphNode Fc2 { get; init; }

    public required GraphNode MlpSum { get; init; }

    /// <summary>The residual stream that enters the block: what the first norm reads.</summary>
    public GraphValue Input => AttentionNorm.Operands[0]!;

    /// <summary>The stream between both halves, as the sum gives it.</summary>
    public GraphValue AfterAttention => AttentionSum.Output;

    /// <summary>What of it the MLP reads: where tokens are dropped between, less.</summary>
    public GraphValue MlpInput => MlpNorm.Operands[0]!;

    /// <summary>The stream behind the block.</summary>
    public GraphValue Output => MlpSum.Output;

    public AttentionOp AttentionOp => (AttentionOp)Attention.Op;

    public HeadLayout Heads => AttentionOp.Heads;
}

/// <summary>
/// The blocks of any vision transformer, found by what its ops are and not by names: plain, distilled and hybrid ones, whole or
/// cut, with gates, dropouts and row drops in between.
/// </summary>
public sealed class TransformerBlocks
{
    private TransformerBlocks(Graph graph, IReadOnlyList<TransformerBlock> blocks) => (Graph, Blocks) = (graph, blocks);

    public Graph Graph { get; }

    /// <summary>In the order in which they run; at least one.</summary>
    public IReadOnlyList<TransformerBlock> Blocks { get; }

    /// <summary>Tokens of an image that enter the first block.</summary>
    public int Tokens => Blocks[0].Input.Tensor.Rows!.MaxLength;

    /// <summary>Tokens in front of the patches: the class token, and DeiT's distillation token; 0 of a network without
    /// them.</summary>
    public int PrefixTokens { get; private init; }

    /// <summary>Attention behind the blocks that makes one row of an image of all; null where there is none.</summary>
    internal GraphNode? PoolAttention { get; private init; }

    /// <summary>Whether what follows the blocks reads other rows than those in front: a mean or attention over all.</summary>
    public bool PoolsPatches
    {
        get
        {
            HashSet<GraphValue> ends = [Blocks[^1].Output];
            foreach (GraphNode node in Graph.Nodes.Where(n => n.Inputs.Any(ends.Contains)))
            {
                if (node.Op is LayerNormOp or KeepRowsOp or MergeRowsOp) ends.Add(node.Output);
                else if (node.Op is not TakeRowsOp take || take.Start < 0 || take.Start + take.Count > PrefixTokens) return true;
            }
            return false;
        }
    }

    /// <summary>The blocks of a graph.</summary>
    /// <exception cref="EspalierException">It is no transformer of such blocks on token rows; the message says which node is
    /// otherwise.</exception>
    public static TransformerBlocks Of(Graph graph)
    {
        var halves = new Dictionary<GraphNode, Half>();
        foreach (GraphNode node in graph.Nodes)
            if (HalfOf(node) is { } half) halves.TryAdd(half.Core, half);
        var blocks = new List<TransformerBlock>();
        GraphNode[] attentions = [.. graph.Nodes.Where(n => n.Op is AttentionOp)];
        if (attentions.Length == 0) throw Not("has no attention");
        foreach (GraphNode attention in attentions)
        {
            if (!halves.TryGetValue(attention, out Half? a) && blocks.Count > 0 && PoolsAll(attention, blocks[^1])) break;
            if (a is null)
                throw Not($"has the attention '{attention.Name}', which is no residual branch of linear layers behind a norm");
            if (a.Stream.Tensor.Rows is null)
                throw Not($"has the attention '{attention.Name}', which does not work on token rows");
            Half mlp = halves.Values.FirstOrDefault(h => h.Core.Op is not AttentionOp && Origin(h.Stream) == a.Sum.Output)
                ?? throw Not($"has no MLP with a layer norm behind the attention '{attention.Name}'");
            if (blocks.Count > 0 && !Follows(Origin(a.Stream), blocks[^1].Output))
                throw Not($"has the attention '{attention.Name}', which does not follow the block before it");
            GraphNode[] qkv = [.. attention.Operands.Take(3).Select(x => Back(x!).Producer!)];
            blocks.Add(new TransformerBlock
            {
                Index = blocks.Count, AttentionNorm = a.Norm, QueryNorm = NormOf(qkv[0])!, Query = qkv[0], Key = qkv[1],
                Value = qkv[2], Attention = attention, Projection = a.Last, AttentionSum = a.Sum,
                MlpNorm = mlp.Norm, Fc1 = mlp.Core, Fc2 = mlp.Last, MlpSum = mlp.Sum,
            });
        }
        return new TransformerBlocks(graph, blocks)
        {
            PrefixTokens = Prefix(graph, blocks), PoolAttention = attentions.ElementAtOrDefault(blocks.Count),
        };
    }

    /// <summary>Whether a stream is that behind a block, but for branches that are added without any attention, such as
    /// convolutions that took its place.</summary>
    private static bool Follows(GraphValue stream, GraphValue output) => stream == output
        || (stream.Producer is { Op: AddOp } sum && sum.Inputs.Any(x => Follows(Origin(x), output)));

    /// <summary>Whether it is behind the blocks and makes one row of an image of all: a head that pools by attention.</summary>
    private static bool PoolsAll(GraphNode attention, TransformerBlock last) =>
        attention.Operands[0]!.Tensor.Rows is { MaxLength: 1 } && Back(attention.Operands[1]!).Producer is { Op: LinearOp } key
        && NormOf(key) is { } norm && Origin(norm.Operands[0]!) == last.Output;

    private static EspalierException Not(string what) =>
        new($"the network is no vision transformer of pre-norm blocks: it {what}");

    /// <summary>The residual branch that ends in a sum; null where the node is none of a transformer's.</summary>
    private static Half? HalfOf(GraphNode sum)
    {
        if (sum is { Op: LinearOp { Residual: not null } }) return Branch(sum, sum, sum.Operands[3]!);
        if (sum.Op is IndexAddOp) return Branch(sum, Back(sum.Operands[3]!).Producer, sum.Operands[0]!);
        if (sum.Op is not AddOp || sum.Inputs.Any(x => x.IsWeight)) return null;
        GraphValue a = sum.Operands[0]!, b = sum.Operands[1]!;
        return Branch(sum, Back(a).Producer, b) ?? Branch(sum, Back(b).Producer, a);
    }

    /// <param name="last">The linear layer that the branch ends with.</param>
    private static Half? Branch(GraphNode sum, GraphNode? last, GraphValue stream)
    {
        if (last?.Op is not LinearOp || (last != sum && last.Op is LinearOp { Residual: not null })) return null;
        GraphNode? core = Back(last.Operands[0]!).Producer;
        GraphNode? norm = core?.Op switch
        {
            LinearOp { Residual: null } => NormOf(core),
            AttentionOp => NormOfAttention(core),
            _ => null,
        };
        return norm is not null && Origin(norm.Operands[0]!) == Origin(stream) ? new Half(sum, last, core!, norm, stream) : null;
    }

    /// <summary>The layer norm in front of keys and values, where these and the queries are linear layers behind one.</summary>
    private static GraphNode? NormOfAttention(GraphNode attention)
    {
        GraphNode?[] norms = [.. attention.Operands.Take(3).Select(x => Back(x!).Producer)
            .Select(layer => layer?.Op is LinearOp ? NormOf(layer) : null)];
        return norms[0] is not null && norms[1] == norms[2] ? norms[1] : null;
    }

    /// <summary>The layer norm that a linear layer reads.</summary>
    private static GraphNode? NormOf(GraphNode linear) =>
        Back(linear.Operands[0]!).Producer is { Op: LayerNormOp } norm ? norm : null;

    /// <summary>The value before activations, gates, dropouts, dropped rows and picked channels: what the next layer up
    /// gives.</summary>
    private static GraphValue Back(GraphValue value)
    {
        while (value.Producer is { } node && (IsOfRows(node.Op) || IsGate(node) || IsOfHeads(node)
            || IsNormOfHeads(node) || node.Op is UnaryOp or GeluOp or DropoutOp or IndexSelectOp))
            value = node.Inputs.First(x => !x.IsWeight);
        return value;
    }

    /// <summary>The value before gates, dropouts and dropped rows: a stream that lost rows is still the stream.</summary>
    private static GraphValue Origin(GraphValue value)
    {
        while (value.Producer is { } node && (IsOfRows(node.Op) || node.Op is DropoutOp || IsGate(node)))
            value = node.Inputs.First(x => !x.IsWeight);
        return value;
    }

    private static bool IsOfRows(Op op) => op is KeepRowsOp or TakeRowsOp or MergeRowsOp;

    /// <summary>A product with a weight, or with something made of the same value (as of SiLU), or a sum with a weight.</summary>
    private static bool IsGate(GraphNode node) => node.Op is MulOp or DivOp
        || (node.Op is AddOp or SubOp && node.Inputs.Any(x => x.IsWeight) && node.Inputs.Any(x => !x.IsWeight));

    /// <summary>A reshape that splits a row's channels into heads, each with a factor, or joins them again.</summary>
    private static bool IsOfHeads(GraphNode node) =>
        node.Op is ReshapeOp && node.Output.Tensor.Rows is not null && node.Operands[0]!.Tensor.Rows is not null;

    /// <summary>A layer norm of each head's queries or keys.</summary>
    private static bool IsNormOfHeads(GraphNode node) =>
        node.Op is LayerNormOp && node.Output.Shape.Rank == 3 && node.Output.Tensor.Rows is not null;

    /// <summary>As many as are put in front of the patches; of a network that assembles its tokens in another way as many as its
    /// classifier reads by their place.</summary>
    private static int Prefix(Graph graph, List<TransformerBlock> blocks)
    {
        if (graph.Nodes.Select(n => n.Op).OfType<AssembleTokensOp>().FirstOrDefault() is { } assemble) return assemble.Prefix;
        HashSet<GraphValue> ends = [blocks[^1].Output];
        int prefix = 0;
        foreach (GraphNode node in graph.Nodes)
        {
            if (!node.Inputs.Any(ends.Contains)) continue;
            if (node.Op is LayerNormOp) ends.Add(node.Output);
            if (node.Op is TakeRowsOp take) prefix = Math.Max(prefix, take.Start + take.Count);
        }
        return prefix;
    }

    /// <param name="Last">The linear layer that the branch ends with.</param>
    /// <param name="Core">Attention, or the first linear layer of an MLP.</param>
    private sealed record Half(GraphNode Sum, GraphNode Last, GraphNode Core, GraphNode Norm, GraphValue Stream);
}
