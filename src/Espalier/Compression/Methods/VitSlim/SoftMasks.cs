using System.Globalization;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.VitSlim;

/// <summary>The soft masks of one block; null for what is not searched.</summary>
/// <param name="Attention">One a dimension of all heads, or of some together: queries, keys and values are multiplied with it.</param>
/// <param name="Shared">Of each dimension of all heads, which entry of <paramref name="Attention"/> is its mask.</param>
/// <param name="Hidden">One a hidden unit of the MLP, behind its activation.</param>
/// <param name="Tokens">One a token that the block sees, [1, T, 1]: what attention and the MLP read of it is multiplied with its
/// hyperbolic tangent.</param>
/// <param name="Ids">Which tokens these are.</param>
/// <param name="Heads">Of the block, which has so many <paramref name="Units"/>.</param>
internal sealed record BlockMasks(Tensor? Attention, int[] Shared, Tensor? Hidden, Tensor? Tokens, int[] Ids, HeadLayout Heads, int Units);

/// <summary>
/// Learned multipliers in every block of a vision transformer (arXiv 2201.00814, section 3): they are trained with the weights
/// under an L1 penalty, and taken out again to be replaced by what they choose.
/// </summary>
internal sealed class SoftMasks : ITrainingHook
{
    private readonly Graph graph;
    private readonly VitSlim options;
    private readonly List<BlockMasks> blocks = [];
    private readonly List<(GraphNode Node, GraphValue Value)> put = [];
    private readonly Tensor[] frozen;
    private readonly TransformerBlocks all;

    /// <summary>Puts masks in, which change nothing but for the tokens' tanh(3) = 0.995.</summary>
    /// <exception cref="EspalierException">It is no vision transformer, or one whose heads or tokens do not fit.</exception>
    public SoftMasks(Graph graph, VitSlim options)
    {
        (this.graph, this.options) = (graph, options);
        all = TransformerBlocks.Of(graph);
        HashSet<Tensor> norms = [.. graph.Nodes.Where(n => n.Op is LayerNormOp).SelectMany(n => n.Inputs).Select(v => v.Tensor)];
        PrefixTokens = all.PrefixTokens;
        frozen = options.FreezeWeights ? [.. graph.Parameters.Select(p => p.Value).Where(p => !norms.Contains(p))] : [];
        CompressionOrder.Check(options, graph);
        foreach (TransformerBlock block in all.Blocks) Add(block);
    }

    public IReadOnlyList<BlockMasks> Blocks => blocks;

    /// <summary>Tokens in front, which always stay.</summary>
    public int PrefixTokens { get; }

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("VitSlimWeights", string.Create(CultureInfo.InvariantCulture,
            $"{options.AttentionWeight} {options.HiddenWeight} {options.TokenWeight}")),
        ("VitSlimFrozen", options.FreezeWeights ? "yes" : "no"),
    ];

    /// <inheritdoc/>
    public IReadOnlyList<Tensor> WithoutDecay =>
        [.. blocks.SelectMany(b => new[] { b.Attention, b.Hidden, b.Tokens }).OfType<Tensor>()];

    /// <summary>The penalty w1 Σ|attention| + w2 Σ|hidden| + w3 Σ|tanh tokens| over all blocks.</summary>
    public Tensor? Loss(TrainingPass pass, in StepContext context)
    {
        Tensor? sum = null;
        foreach (BlockMasks block in blocks)
        {
            Add(block.Attention, options.AttentionWeight);
            Add(block.Hidden, options.HiddenWeight);
            Add(block.Tokens is { } t ? F.Tanh(t) : null, options.TokenWeight);
        }
        return sum;

        void Add(Tensor? mask, double weight)
        {
            if (mask is null) return;
            Tensor part = F.Mul(F.Sum(F.Abs(mask)), (float)weight);
            sum = sum is null ? part : F.Add(sum, part);
        }
    }

    /// <summary>Weights that stay as they are while masks and norms are trained get no gradient.</summary>
    public void AfterBackward(in StepContext context)
    {
        foreach (Tensor weight in frozen) weight.ClearGrad();
    }

    /// <summary>Takes the masks out.</summary>
    /// <param name="fold">Whether attention's and hidden masks go into the weights; else what they have learnt is dropped, as
    /// published: they only choose.</param>
    public void TakeOut(bool fold)
    {
        using var edit = new GraphEdit(graph);
        foreach (var (node, value) in Enumerable.Reverse(put)) edit.Take(node, value);
        IReadOnlyList<TransformerBlock> found = TransformerBlocks.Of(graph).Blocks;
        for (int b = 0; fold && b < blocks.Count; b++)
        {
            if (blocks[b].Attention is { } attention)
            {
                float[] factors = [.. blocks[b].Shared.Select(mask => attention.Span[mask])];
                foreach (GraphNode layer in (GraphNode[])[found[b].Query, found[b].Key, found[b].Value])
                    foreach (GraphValue weight in layer.Operands.Skip(1).Take(2).OfType<GraphValue>())
                        edit.Change(weight.Tensor, values => Scale(values, factors, values.Length / factors.Length));
            }
            if (blocks[b].Hidden is { } hidden)
            {
                float[] factors = hidden.ToArray();
                edit.Change(found[b].Fc2.Operands[1]!.Tensor, values => Scale(values, factors, 1));
            }
        }
        edit.Commit();
    }

    /// <summary>The number of the mask of each dimension of all heads.</summary>
    public static int[] MaskOf(MaskShare shared, HeadLayout heads)
    {
        int width = heads.QueryWidth / heads.Count;
        return [.. Enumerable.Range(0, heads.QueryWidth).Select(i => shared switch
        {
            MaskShare.Head => i / width,
            MaskShare.Dimension => i % width,
            _ => i,
        })];
    }

    /// <summary>Values of <paramref name="run"/> neighbours have one factor, again and again through all of them.</summary>
    private static void Scale(Span<float> values, float[] factors, int run)
    {
        for (int i = 0; i < values.Length; i++) values[i] *= factors[i / run % factors.Length];
    }

    private void Add(TransformerBlock block)
    {
        HeadLayout heads = block.Heads;
        Tensor? attention = null, hidden = null, tokens = null;
        string name = $"zeta.{block.Index}.";
        if (options.AttentionWeight > 0)
        {
            bool same = Enumerable.Range(0, heads.Count).All(h => heads.QueryWidthOf(h) == heads.ValueWidthOf(h));
            if (!same || (options.Shared != MaskShare.None && !heads.IsUniform))
                throw new EspalierException($"'{block.Attention.Name}' has {heads}; vit-slim needs values as wide as queries"
                    + (options.Shared == MaskShare.None ? "" : ", and heads that are alike to share masks"));
            if (options.Fold && (block.Attention.Operands[0] != block.Query.Output || block.Attention.Operands[1] != block.Key.Output
                || block.Attention.Operands[2] != block.Value.Output))
                throw new EspalierException($"'{block.Attention.Name}' reads queries or keys through a norm, which no mask folds through; leave "
                    + "Fold out");
            if (options.Shared != MaskShare.Head
                && (IsNormed(block.Attention.Operands[0]!, block.Query) || IsNormed(block.Attention.Operands[1]!, block.Key)))
                throw new EspalierException($"'{block.Attention.Name}' has norms of each head's queries or keys, whose dimensions "
                    + "stay or go together: set Shared to Head, or AttentionWeight to 0");
            attention = New(1, options.Shared switch
            {
                MaskShare.Head => new Shape(heads.Count, 1),
                MaskShare.Dimension => new Shape(heads.QueryWidthOf(0)),
                _ => new Shape(heads.QueryWidth),
            });
            foreach (GraphValue value in block.Attention.Operands.Take(3).OfType<GraphValue>().Distinct().ToArray())
                Put(value, graph.InsertAfter(value, x => Masked(x, attention, heads), Named(name + "attention", attention)));
        }
        if (options.HiddenWeight > 0)
        {
            GraphValue value = block.Fc2.Operands[0]!;
            hidden = New(1, new Shape(value.Shape[-1]));
            Put(value, graph.InsertAfter(value, x => F.Mul(x, hidden), Named(name + "hidden", hidden)));
        }
        RowSet rows = block.Input.Tensor.Rows!;
        if (options.TokenWeight > 0)
        {
            CheckTokens(block);
            tokens = New((float)options.TokenStart, new Shape(1, rows.MaxLength, 1));
            foreach (GraphNode norm in (GraphNode[])[block.AttentionNorm, block.MlpNorm])
                Put(norm.Output, graph.InsertAfter(norm.Output, [graph.Inputs[0]], t =>
                    F.Mul(t[0], F.Reshape(F.Repeat(F.Tanh(tokens), t[1]), t[0].Shape[0], 1)), Named(name + "tokens", tokens)));
        }
        blocks.Add(new BlockMasks(attention, MaskOf(options.Shared, heads), hidden, tokens, TokenList.Of(block.Input), heads,
            block.Fc2.Op.Inputs[1].Shape[1]));
    }

    private void CheckTokens(TransformerBlock block)
    {
        RowSet rows = block.Input.Tensor.Rows!, mlp = block.MlpInput.Tensor.Rows!;
        bool asked = graph.Nodes.Any(n => n.Op is MergeRowsOp or SampleRowsOp or KeepRowsOp { Rule.By: not KeepBy.Tokens });
        if (asked || mlp.Rows != rows.Rows || block.QueryNorm != block.AttentionNorm)
            throw new EspalierException("vit-slim learns a mask for each position, and the network drops tokens inside blocks "
                + "or others of each image; leave tokens alone with TokenWeight 0");
        if (PrefixTokens == 0)
            throw new EspalierException("vit-slim drops tokens of networks with a class token; leave them with TokenWeight 0");
        BlockChecks.RequireClassHead(all, "vit-slim learns masks of tokens while all of them stay",
            "leave tokens alone with TokenWeight 0");
        if (block.Attention.Operands.ElementAtOrDefault(4) is not null)
            throw new EspalierException($"'{block.Attention.Name}' masks keys itself; leave tokens alone with TokenWeight 0");
    }

    /// <summary>Whether a norm stands between a layer and attention, by statistics or by what is made of the same value.</summary>
    private static bool IsNormed(GraphValue value, GraphNode layer)
    {
        while (value.Producer is { } node && node != layer)
        {
            GraphValue[] inputs = [.. node.Inputs.Where(x => !x.IsWeight)];
            if (node.Op is LayerNormOp || (node.Op is MulOp or DivOp && inputs.Length > 1)) return true;
            value = inputs[0];
        }
        return false;
    }

    private static Tensor Masked(Tensor x, Tensor mask, HeadLayout heads)
    {
        if (mask.Length == heads.QueryWidth && mask.Rank == 1) return F.Mul(x, mask);
        return F.Reshape(F.Mul(F.Reshape(x, x.Shape[0], heads.Count, heads.QueryWidthOf(0)), mask), x.Shape);
    }

    private static Tensor New(float start, Shape shape)
    {
        Tensor mask = Tensor.Unscoped(shape);
        mask.Fill(start);
        mask.RequiresGrad = true;
        return mask;
    }

    /// <summary>The name of a weight where it is new to the graph.</summary>
    private (string, Tensor)[] Named(string name, Tensor mask) =>
        graph.Weights.Values.Any(w => w.Tensor == mask) ? [] : [(name, mask)];

    private void Put(GraphValue value, GraphValue masked) => put.Add((masked.Producer!, value));
}
