using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Matrices of a backward pass with their leading dimensions; shapes at <see cref="Attention.Backward"/>.</summary>
internal unsafe struct BackwardOperands
{
    public float* Q, K, V, Out, Softmax, DOut, DQ, DK, DV;
    public nint LdQ, LdK, LdV, LdOut, LdDOut, LdDQ, LdDK, LdDV;
}

/// <summary>
/// One head of one image at a time: probabilities are computed again for a block of query rows, kept in cache, and used for
/// all three gradients; those of keys and values are summed over the blocks in scratch.
/// </summary>
internal readonly unsafe struct AttentionBackward<S, V> : IRangeJob where S : ISimd<V> where V : struct
{
    // Enough rows that adding a block to dk and dv costs little; two blocks of scores still fit a second-level cache.
    private const int MaxBlock = 64;
    private const float Log2E = 1.44269504f, Ln2 = 0.693147181f;

    private readonly AttentionHeads heads;
    private readonly BackwardOperands x;

    public AttentionBackward(in AttentionHeads heads, in BackwardOperands operands)
    {
        this.heads = heads;
        x = operands;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Run(int start, int end, int worker)
    {
        for (int pair = start; pair < end; pair++)
        {
            int image = pair / heads.Count, row0 = heads.Offsets[image], tokens = heads.Offsets[image + 1] - row0;
            if (tokens > 0) Head(row0, pair % heads.Count, tokens);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Head(nint row0, int head, int tokens)
    {
        int d = heads.Width, width = S.Width, pad = AttentionProduct<S, V>.RowPad;
        int dPad = (d + width - 1) / width * width, tPad = (tokens + width - 1) / width * width;
        int tRows = (tokens + pad - 1) / pad * pad, block = Math.Min(MaxBlock, tRows);
        int vectors = dPad / width;
        nint panel = (nint)tPad * d, square = (nint)tRows * dPad, rowBlock = (nint)block * dPad;
        float* keysT = Scratch.Rent(2 * panel + 3 * square + 2 * (nint)block * tPad + 3 * rowBlock + 3 * block);
        float* valuesT = keysT + panel;
        float* keys = valuesT + panel;
        float* dKeys = keys + square;
        float* dValues = dKeys + square;
        float* scores = dValues + square;
        float* dScores = scores + (nint)block * tPad;
        float* queries = dScores + (nint)block * tPad;
        float* dOut = queries + rowBlock;
        float* dQueries = dOut + rowBlock;
        float* maxima = dQueries + rowBlock;
        float* factors = maxima + block;
        float* dot = factors + block;

        nint column = (nint)head * d;
        AttentionPack.Transposed(x.K + row0 * x.LdK + column, x.LdK, tokens, d, keysT, width, 1f);
        AttentionPack.Transposed(x.V + row0 * x.LdV + column, x.LdV, tokens, d, valuesT, width, 1f);
        AttentionPack.Rows<S, V>(x.K + row0 * x.LdK + column, x.LdK, tokens, d, keys, tokens, dPad);
        for (int i = 0; i < tokens; i += block)
        {
            nint row = row0 + i;
            int rows = Math.Min(block, tokens - i), padded = (rows + pad - 1) / pad * pad;
            // Not the keys but the queries take the scale, as in the forward pass: so the scores are the same to the last bit,
            // and none is above the maximum that was saved.
            AttentionPack.Rows<S, V>(x.Q + row * x.LdQ + column, x.LdQ, rows, d, queries, padded, dPad, heads.Scale * Log2E);
            AttentionPack.Rows<S, V>(x.DOut + row * x.LdDOut + column, x.LdDOut, rows, d, dOut, padded, dPad);
            RowTerms(row, head, rows, maxima, factors, dot);
            AttentionProduct<S, V>.Rows(queries, dPad, keysT, width, (nint)d * width, d, scores, tPad, rows, tPad / width);
            AttentionProduct<S, V>.Rows(dOut, dPad, valuesT, width, (nint)d * width, d, dScores, tPad, rows, tPad / width);
            AttentionScores<S, V>.Backward(scores, dScores, tPad, rows, maxima, factors, dot);
            AttentionProduct<S, V>.Columns(scores, tPad, dOut, dPad, rows, dValues, dPad, tokens, vectors, i > 0);
            AttentionProduct<S, V>.Columns(dScores, tPad, queries, dPad, rows, dKeys, dPad, tokens, vectors, i > 0);
            AttentionProduct<S, V>.Rows(dScores, tPad, keys, dPad, width, tokens, dQueries, dPad, rows, vectors);
            AttentionPack.Unpack<S, V>(dQueries, dPad, rows, d, x.DQ + row * x.LdDQ + column, x.LdDQ, heads.Scale);
        }

        // dsᵀ met queries that had been multiplied by the scale and log2(e).
        AttentionPack.Unpack<S, V>(dKeys, dPad, tokens, d, x.DK + row0 * x.LdDK + column, x.LdDK, Ln2);
        AttentionPack.Unpack<S, V>(dValues, dPad, tokens, d, x.DV + row0 * x.LdDV + column, x.LdDV, 1f);
    }

    // For each row: its largest score, one over its sum, and rowsum(dOut * out), which equals its sum of p * dp.
    private void RowTerms(nint row, int head, int rows, float* maxima, float* factors, float* dot)
    {
        int d = heads.Width, whole = d - d % S.Width;
        for (int r = 0; r < rows; r++)
        {
            float* o = x.Out + (row + r) * x.LdOut + (nint)head * d, g = x.DOut + (row + r) * x.LdDOut + (nint)head * d;
            V sum = S.Zero;
            for (int c = 0; c < whole; c += S.Width) sum = S.Fma(S.Load(o + c), S.Load(g + c), sum);
            float tail = 0f;
            for (int c = whole; c < d; c++) tail += o[c] * g[c];
            dot[r] = S.Sum(sum) + tail;
            float* softmax = x.Softmax + 2 * ((row + r) * heads.Count + head);
            (maxima[r], factors[r]) = (softmax[0], 1f / softmax[1]);
        }
    }
}
