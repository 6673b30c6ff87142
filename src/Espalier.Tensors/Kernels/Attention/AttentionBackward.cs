using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;
using static Espalier.Tensors.Kernels.AttentionPack;

namespace Espalier.Tensors.Kernels;

/// <summary>Matrices of a backward pass with their leading dimensions; shapes at <see cref="Attention.Backward"/>.</summary>
internal unsafe struct BackwardOperands
{
    public float* Q, K, V, Out, Softmax, DOut, DQ, DK, DV;
    public nint LdQ, LdK, LdV, LdOut, LdDOut, LdDQ, LdDK, LdDV;
}

/// <summary>
/// One head of one image at a time: probabilities are computed again for a block of query rows, kept in cache, and used for
/// all three gradients; those of keys and values are summed over the blocks in scratch. Where all images add to the gradient of
/// a bias, one head of all images at a time, in their order.
/// </summary>
internal readonly unsafe struct AttentionBackward<S, V> : IRangeJob where S : ISimd<V> where V : struct
{
    // Enough rows that adding a block to dk and dv costs little; two blocks of scores still fit a second-level cache.
    private const int MaxBlock = 64;
    private const float Log2E = 1.44269504f, Ln2 = 0.693147181f;

    private readonly AttentionHeads heads;
    private readonly AttentionBias bias;
    private readonly BackwardOperands x;
    private readonly bool withoutFew;

    /// <param name="withoutFew">Whether images of few queries are done otherwise.</param>
    public AttentionBackward(in AttentionHeads heads, in AttentionBias bias, bool withoutFew, in BackwardOperands operands)
    {
        this.heads = heads;
        this.bias = bias;
        this.withoutFew = withoutFew;
        x = operands;
    }

    /// <summary>Items of work.</summary>
    public int Items => AllImages ? heads.Count : heads.Pairs;

    private bool AllImages => bias.DOfPairs != null;

    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Run(int start, int end, int worker)
    {
        for (int item = start; item < end; item++)
        {
            if (!AllImages) Head(item / heads.Count, item % heads.Count);
            for (int image = 0; AllImages && image < heads.Images; image++) Head(image, item);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Head(int image, int head)
    {
        if (withoutFew && heads.HasFewQueries(image)) return;
        nint query0 = heads.Queries[image], key0 = heads.Keys[image];
        int count = heads.Queries[image + 1] - (int)query0, tokens = heads.Keys[image + 1] - (int)key0;
        int d = heads.QueryWidth(head), dv = heads.ValueWidth(head);
        nint column = heads.QueryColumns[head], valueColumn = heads.ValueColumns[head];
        float* dQ = x.DQ + query0 * x.LdDQ + column, dK = x.DK + key0 * x.LdDK + column;
        float* dV = x.DV + key0 * x.LdDV + valueColumn;
        if (count == 0 || tokens == 0)
        {
            Clear(dQ, x.LdDQ, count, d);
            Clear(dK, x.LdDK, tokens, d);
            Clear(dV, x.LdDV, tokens, dv);
            return;
        }

        int width = S.Width, pad = AttentionProduct<S, V>.RowPad;
        int dPad = RoundUp(d, width), dvPad = RoundUp(dv, width);
        int tPad = RoundUp(tokens, width), tRows = RoundUp(tokens, pad);
        int block = Math.Min(MaxBlock, RoundUp(count, pad)), vectors = dPad / width;
        nint square = (nint)block * tPad;
        float* keysT = Scratch.Rent((nint)tPad * (d + dv) + (nint)tRows * (2 * dPad + dvPad)
            + (nint)block * (2 * dPad + dvPad + 3) + (bias.IsEmpty ? 2 : 3) * square);
        float* valuesT = keysT + (nint)tPad * d;
        float* keys = valuesT + (nint)tPad * dv;
        float* dKeys = keys + (nint)tRows * dPad;
        float* dValues = dKeys + (nint)tRows * dPad;
        float* scores = dValues + (nint)tRows * dvPad;
        float* dScores = scores + square;
        float* queries = dScores + square;
        float* dQueries = queries + (nint)block * dPad;
        float* dOut = dQueries + (nint)block * dPad;
        float* maxima = dOut + (nint)block * dvPad;
        float* factors = maxima + block;
        float* dot = factors + block;
        float* added = dot + block;

        AttentionPack.Transposed(x.K + key0 * x.LdK + column, x.LdK, tokens, d, keysT, width, 1f);
        AttentionPack.Transposed(x.V + key0 * x.LdV + valueColumn, x.LdV, tokens, dv, valuesT, width, 1f);
        AttentionPack.Rows<S, V>(x.K + key0 * x.LdK + column, x.LdK, tokens, d, keys, tokens, dPad);
        for (int i = 0; i < count; i += block)
        {
            nint row = query0 + i;
            int rows = Math.Min(block, count - i), padded = RoundUp(rows, pad);
            // Not the keys but the queries take the scale, as in the forward pass: so the scores are the same to the last bit,
            // and none is above the maximum that was saved.
            AttentionPack.Rows<S, V>(x.Q + row * x.LdQ + column, x.LdQ, rows, d, queries, padded, dPad, heads.Scale * Log2E);
            AttentionPack.Rows<S, V>(x.DOut + row * x.LdDOut + valueColumn, x.LdDOut, rows, dv, dOut, padded, dvPad);
            RowTerms(row, head, rows, maxima, factors, dot);
            AttentionProduct<S, V>.Rows(queries, dPad, keysT, width, (nint)d * width, d, scores, tPad, rows, tPad / width);
            AttentionProduct<S, V>.Rows(dOut, dvPad, valuesT, width, (nint)dv * width, dv, dScores, tPad, rows, tPad / width);
            if (bias.IsEmpty)
            {
                AttentionScores<S, V>.Backward(scores, dScores, tPad, rows, maxima, factors, dot);
            }
            else
            {
                bias.Fill(head, row, rows, key0, tokens, added, tPad);
                AttentionBiased<S, V>.Backward(scores, dScores, added, tPad, rows, maxima, factors, dot);
                bias.AddGradients(head, row, rows, key0, tokens, heads.Keys[heads.Images], dScores, tPad);
            }

            AttentionProduct<S, V>.Columns(scores, tPad, dOut, dvPad, rows, dValues, dvPad, tokens, dvPad / width, i > 0);
            AttentionProduct<S, V>.Columns(dScores, tPad, queries, dPad, rows, dKeys, dPad, tokens, vectors, i > 0);
            AttentionProduct<S, V>.Rows(dScores, tPad, keys, dPad, width, tokens, dQueries, dPad, rows, vectors);
            AttentionPack.Unpack<S, V>(dQueries, dPad, rows, d, dQ + i * x.LdDQ, x.LdDQ, heads.Scale);
        }

        // dsᵀ met queries that had been multiplied by the scale and log2(e).
        AttentionPack.Unpack<S, V>(dKeys, dPad, tokens, d, dK, x.LdDK, Ln2);
        AttentionPack.Unpack<S, V>(dValues, dvPad, tokens, dv, dV, x.LdDV, 1f);
    }

    // For each row: its largest score, one over its sum, and rowsum(dOut * out), which equals its sum of p * dp.
    private void RowTerms(nint row, int head, int rows, float* maxima, float* factors, float* dot)
    {
        int d = heads.ValueWidth(head), whole = d - d % S.Width;
        nint column = heads.ValueColumns[head];
        for (int r = 0; r < rows; r++)
        {
            float* o = x.Out + (row + r) * x.LdOut + column, g = x.DOut + (row + r) * x.LdDOut + column;
            V sum = S.Zero;
            for (int c = 0; c < whole; c += S.Width) sum = S.Fma(S.Load(o + c), S.Load(g + c), sum);
            float tail = 0f;
            for (int c = whole; c < d; c++) tail += o[c] * g[c];
            dot[r] = S.Sum(sum) + tail;
            float* softmax = x.Softmax + 2 * ((row + r) * heads.Count + head);
            (maxima[r], factors[r]) = (softmax[0], 1f / softmax[1]);
        }
    }

    private static void Clear(float* target, nint ld, int rows, int columns)
    {
        for (int r = 0; r < rows; r++, target += ld) new Span<float>(target, columns).Clear();
    }
}
