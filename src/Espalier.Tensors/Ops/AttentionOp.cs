using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>Which keys a query of <see cref="AttentionOp"/> sees, besides what a key mask says.</summary>
public enum AttentionMask
{
    /// <summary>All of its image.</summary>
    None,

    /// <summary>Those whose token (<see cref="RowSet.Tokens"/>) does not come after its own.</summary>
    Causal,
}

/// <summary>
/// Multi-head attention within each image of a packed batch: softmax(q kᵀ · scale + bias) v, head by head. q [query rows,
/// query columns], k [key rows, query columns], v [key rows, value columns] -> y [query rows, value columns]. Images never see
/// one another, and nothing is padded. Queries may be of other rows than keys: of the class token alone, say. The row sets are
/// those of q and of k; operands of rank 3, [B, T, columns], without one are B images of T rows each. A query that sees no key
/// gives zeros.
/// </summary>
/// <remarks>With <see cref="Probabilities"/> the softmax is of few bits before it meets v, with <see cref="Bytes"/> all operands
/// are of 8. Backward the steps count as a line: the gradients are those of the same attention without rounding.</remarks>
public sealed unsafe class AttentionOp : Op, IOfHeads
{
    private readonly Tensor q, k, v;
    private readonly Tensor? bias, keyMask;
    private readonly RowSet queries, keys;
    private Tensor? softmax, unrounded;

    /// <param name="scale">What scores are multiplied by: 1/sqrt(d) of the unpruned head.</param>
    /// <param name="bias">Added to the scores: [key rows] (or [B, T]), to those of all queries and heads, or [heads, T, T], row i
    /// and column j for the query that is token i and the key that is token j of their image. Null for none.</param>
    /// <param name="keyMask">[key rows] (or [B, T]): no query sees a key of 0. No gradient comes to it. Null for none.</param>
    /// <param name="probabilities">Null where they stay floats.</param>
    /// <param name="bytes">Whether both products are of bytes; then there is no bias, no mask and no other rounding, and the
    /// scale is above 0.</param>
    public AttentionOp(
        Tensor q, Tensor k, Tensor v, HeadLayout heads, float scale, Tensor? bias = null, Tensor? keyMask = null,
        AttentionMask mask = AttentionMask.None, ProbabilityCodes? probabilities = null, bool bytes = false)
        : base(q, k, v, bias, keyMask)
    {
        (this.q, this.k, this.v, this.bias, this.keyMask) = (q, k, v, bias, keyMask);
        (Heads, Scale, Mask, Probabilities, Bytes) = (heads, scale, mask, probabilities, bytes);
        if (bytes && (!IsPlain || probabilities is not null))
            throw new ArgumentException("Attention: products of bytes have no bias, mask or other rounding, and a scale above 0");
        (queries, keys) = (RowsOf(q), RowsOf(k));
        if (q.Rank != k.Rank || q.Shape[-1] != heads.QueryWidth || k.Shape[-1] != heads.QueryWidth
            || v.Shape != k.Shape.With(-1, heads.ValueWidth))
        {
            throw new ArgumentException($"Attention: q {q.Shape}, k {k.Shape} and v {v.Shape} do not fit {heads}");
        }
        if (queries.Images != keys.Images)
            throw new ArgumentException($"Attention: queries of {queries.Images} images and keys of {keys.Images}");
        if (keyMask is not null && keyMask.Length != keys.Rows)
            throw new ArgumentException($"Attention: a key mask {keyMask.Shape} for {keys.Rows} keys");
        if (bias is not null && !BiasIsOfPairs && bias.Length != keys.Rows)
            throw new ArgumentException($"Attention: a bias {bias.Shape} for {keys.Rows} keys in {heads}");
        if ((BiasIsOfPairs || mask == AttentionMask.Causal) && !(queries.InOrder && keys.InOrder))
            throw new ArgumentException("Attention: a bias of pairs or a causal mask is for rows in the order of their tokens, not for merged ones");
    }

    public override string Name => "Attention";

    public HeadLayout Heads { get; }

    public float Scale { get; }

    public AttentionMask Mask { get; }

    /// <summary>How probabilities are rounded; null where they stay floats.</summary>
    public ProbabilityCodes? Probabilities { get; }

    /// <summary>Whether both products are of bytes: rows of q and k with a scale each, columns of v, and probabilities in 127
    /// steps up to the largest of their query, divided by the sum of their codes.</summary>
    public bool Bytes { get; }

    /// <summary>Whether nothing is added to the scores, and all keys are seen.</summary>
    internal bool IsPlain => bias is null && keyMask is null && Mask == AttentionMask.None && Scale > 0;

    public override Shape Result => q.Shape.With(-1, Heads.ValueWidth);

    public override Cost Cost
    {
        get
        {
            long pairs = 0, width = (long)Heads.QueryWidth + Heads.ValueWidth;
            for (int b = 0; b < keys.Images; b++) pairs += (long)queries.Length(b) * keys.Length(b);
            return new Cost(pairs * width, sizeof(float) * ((queries.Rows + (long)keys.Rows) * width + (bias?.Length ?? 0)));
        }
    }

    private bool BiasIsOfPairs => bias is { Rank: 3 } && bias.Shape[0] == Heads.Count && bias.Shape[1] == bias.Shape[2];

    public override Op On(Tensor?[] operands, RunContext run = default) => new AttentionOp(
        operands[0]!, operands[1]!, operands[2]!, Heads.For(operands[0]!.Shape[-1]), Scale, operands.ElementAtOrDefault(3),
        operands.ElementAtOrDefault(4), Mask, Probabilities, Bytes);

    protected override void Save(OpSettings settings)
    {
        Heads.Save(settings);
        settings.Set("scale", Scale).Set("mask", Mask);
        Probabilities?.Save(settings);
        if (Bytes) settings.Set("bytes", true);
    }

    protected override Tensor Forward()
    {
        CheckTokens();
        if (Differentiated) softmax = new Tensor(new Shape(queries.Rows, Heads.Count, 2));
        if (Probabilities is null && !Bytes) return Product(softmax, null);
        // Backward wants the softmax, and the result, that nobody has rounded.
        if (Differentiated) unrounded = Product(softmax, null);
        return Bytes ? OfBytes() : Product(null, Probabilities!.Range);
    }

    private Tensor Product(Tensor? saved, ProbabilityRange? rounded)
    {
        var y = new Tensor(Result);
        fixed (int* queryRows = queries.Starts, keyRows = keys.Starts)
        fixed (int* queryTokens = Tokens(queries), keyTokens = Tokens(keys))
        {
            Attention.Forward(
                Heads.Over(queryRows, keyRows, keys.Images, Scale), Bias(queryTokens, keyTokens), q.Data, Heads.QueryWidth, k.Data, Heads.QueryWidth,
                v.Data, Heads.ValueWidth, y.Data, Heads.ValueWidth, saved is null ? null : saved.Data, rounded);
        }
        return y;
    }

    private Tensor OfBytes()
    {
        var y = new Tensor(Result);
        fixed (int* queryRows = queries.Starts, keyRows = keys.Starts)
        {
            AttentionInt8.Forward(
                AttentionInt8.Tile, Heads.Over(queryRows, keyRows, keys.Images, Scale), q.Data, Heads.QueryWidth, k.Data,
                Heads.QueryWidth, v.Data, Heads.ValueWidth, y.Data, Heads.ValueWidth);
        }
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        // One kernel writes all three; where a gradient is there already, or not wanted, into a tensor of its own.
        Tensor dq = Part(q), dk = Part(k), dv = Part(v);
        Tensor? dBias = !Wants(bias) ? null : Tensor.Zeros(BiasIsOfPairs ? bias!.Shape : new Shape(Heads.Count, keys.Rows));
        int query = Heads.QueryWidth, value = Heads.ValueWidth;
        var x = new BackwardOperands
        {
            Q = q.Data, K = k.Data, V = v.Data, Out = (unrounded ?? Output).Data, Softmax = softmax!.Data, DOut = dy.Data,
            DQ = dq.Data, DK = dk.Data, DV = dv.Data, LdQ = query, LdK = query, LdV = value, LdOut = value, LdDOut = value,
            LdDQ = query, LdDK = query, LdDV = value,
        };
        fixed (int* queryRows = queries.Starts, keyRows = keys.Starts)
        fixed (int* queryTokens = Tokens(queries), keyTokens = Tokens(keys))
        {
            AttentionBias added = Bias(queryTokens, keyTokens);
            if (dBias is not null && BiasIsOfPairs) added.DOfPairs = dBias.Data;
            else if (dBias is not null) added.DOfKeys = dBias.Data;
            Attention.Backward(Heads.Over(queryRows, keyRows, keys.Images, Scale), added, x);
        }
        AddPart(q, dq);
        AddPart(k, dk);
        AddPart(v, dv);
        if (dBias is null) return;
        AddGrad(bias!, grad => SumOverHeads(dBias, grad));
        dBias.Dispose();
    }

    /// <summary>The same without its mask: for queries that are the last token of their image, which sees all.</summary>
    internal AttentionOp Unmasked() => new(q, k, v, Heads, Scale, bias, keyMask, probabilities: Probabilities);

    /// <summary>The same with other roundings.</summary>
    internal AttentionOp With(ProbabilityCodes? probabilities, bool bytes = false) =>
        new(q, k, v, Heads, Scale, bias, keyMask, Mask, probabilities, bytes);

    Tensor IOfHeads.Queries => q;

    Tensor IOfHeads.Values => v;

    Op IOfHeads.WithHeads(HeadLayout heads) => new AttentionOp(
        Tensor.Meta(q.Shape.With(-1, heads.QueryWidth), q.Rows), Tensor.Meta(k.Shape.With(-1, heads.QueryWidth), k.Rows),
        Tensor.Meta(v.Shape.With(-1, heads.ValueWidth), v.Rows), heads, Scale,
        BiasIsOfPairs ? Tensor.Meta(bias!.Shape.With(0, heads.Count)) : bias, keyMask, Mask, Probabilities, Bytes);

    /// <summary>
    /// By the view that is asked for: heads go whole, their columns in q, k, v and y together; or a column of q goes with that of k,
    /// and a column of v with that of y, in one head or in all alike.
    /// </summary>
    public override void Flow(ChannelFlow flow)
    {
        if (flow.Heads == HeadView.Heads) FlowOfHeads(flow);
        else
        {
            flow.Same(k, -1, q, -1);
            flow.Same(Output, -1, v, -1);
            bool alike = flow.Heads == HeadView.AllHeads && Heads.IsUniform;
            for (int n = 1; n < Heads.Count && alike; n++)
            {
                flow.Couple(q, -1, Heads.QueryColumns[n], 1, q, -1, 0, 1, Heads.QueryWidthOf(0));
                flow.Couple(v, -1, Heads.ValueColumns[n], 1, v, -1, 0, 1, Heads.ValueWidthOf(0));
            }
            if (BiasIsOfPairs) flow.Fix(bias!, 0, "a bias is of whole heads");
        }
        if (BiasIsOfPairs) for (int axis = 1; axis < 3; axis++) flow.Fix(bias!, axis, "a bias is of all pairs of tokens");
        long pairs = Cost.MultiplyAdds / (Heads.QueryWidth + Heads.ValueWidth);
        flow.Work(pairs * Heads.QueryWidth, q, -1);
        flow.Work(pairs * Heads.ValueWidth, v, -1);
    }

    private void FlowOfHeads(ChannelFlow flow)
    {
        int heads = Heads.IsUniform ? Heads.Count : 1;
        for (int n = 0; n < Heads.Count; n += heads)
        {
            int query = Heads.QueryColumns[n], value = Heads.ValueColumns[n];
            int queryWidth = Heads.QueryWidthOf(n), valueWidth = Heads.ValueWidthOf(n);
            flow.Couple(Output, -1, value, valueWidth, q, -1, query, queryWidth, heads);
            flow.Couple(Output, -1, value, valueWidth, k, -1, query, queryWidth, heads);
            flow.Couple(Output, -1, value, valueWidth, v, -1, value, valueWidth, heads);
            if (BiasIsOfPairs) flow.Couple(Output, -1, value, valueWidth, bias!, 0, n, 1, heads);
        }
    }

    private AttentionBias Bias(int* queryTokens, int* keyTokens) => new()
    {
        Causal = Mask == AttentionMask.Causal,
        KeyMask = keyMask is null ? null : keyMask.Data,
        OfKeys = bias is null || BiasIsOfPairs ? null : bias.Data,
        OfPairs = BiasIsOfPairs ? bias!.Data : null,
        Tokens = BiasIsOfPairs ? bias!.Shape[1] : 0,
        QueryTokens = queryTokens,
        KeyTokens = keyTokens,
        KeyStride = 1,
    };

    private ReadOnlySpan<int> Tokens(RowSet rows) => BiasIsOfPairs || Mask == AttentionMask.Causal ? rows.Tokens : [];

    private void CheckTokens()
    {
        if (!BiasIsOfPairs) return;
        foreach (RowSet rows in (RowSet[])[queries, keys])
        {
            int most = rows.Rows == 0 ? 0 : TensorPrimitives.Max(rows.Tokens);
            if (most >= bias!.Shape[1]) throw new ArgumentException($"Attention: token {most} for a bias {bias.Shape}");
        }
    }

    private static void SumOverHeads(Tensor parts, Tensor sum)
    {
        int count = (int)sum.Length;
        parts.Span[..count].CopyTo(sum.Span);
        for (int n = count; n < parts.Length; n += count) TensorPrimitives.Add(sum.Span, parts.Span.Slice(n, count), sum.Span);
    }

    private static RowSet RowsOf(Tensor x) => (x.Rank, x.Rows) switch
    {
        (2, { } rows) => rows,
        (3, null) => RowSet.Uniform(x.Shape[0], x.Shape[1]),
        _ => throw new ArgumentException($"Attention needs token rows: {x.Shape} has no row set, or not with rank 2"),
    };
}

public static partial class F
{
    /// <inheritdoc cref="AttentionOp"/>
    public static Tensor Attention(
        Tensor q, Tensor k, Tensor v, HeadLayout heads, float scale, Tensor? bias = null, Tensor? keyMask = null,
        AttentionMask mask = AttentionMask.None, ProbabilityCodes? probabilities = null, bool bytes = false) =>
        new AttentionOp(q, k, v, heads, scale, bias, keyMask, mask, probabilities, bytes).Run();
}
