using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>One head of one image at a time: scores of a block of query rows stay in the first-level cache.</summary>
internal unsafe struct AttentionForward<S, V> : IRangeJob where S : ISimd<V> where V : struct
{
    // Half a first-level cache for the scores of a block; the other half is for the keys and values passing by.
    private const int BlockFloats = 24 * 1024 / sizeof(float);
    private const float Log2E = 1.44269504f, Ln2 = 0.693147181f;

    public AttentionHeads Heads;
    public float* Q, K, Values, Out, LogSumExp;
    public nint LdQ, LdK, LdV, LdOut;

    /// <summary>Into how many runs of query rows a pair is cut, so that few images keep many threads busy.</summary>
    public int Cuts;

    [MethodImpl(MethodImplOptions.NoInlining)]
    public readonly void Run(int start, int end, int worker)
    {
        for (int item = start; item < end; item++)
        {
            int pair = item / Cuts, cut = item % Cuts;
            int image = pair / Heads.Count, tokens = Heads.Offsets[image + 1] - Heads.Offsets[image];
            int run = (tokens + Cuts - 1) / Cuts;
            run = (run + AttentionProduct<S, V>.RowPad - 1) / AttentionProduct<S, V>.RowPad * AttentionProduct<S, V>.RowPad;
            int from = Math.Min(tokens, cut * run), to = Math.Min(tokens, from + run);
            if (from < to) Head(image, pair % Heads.Count, tokens, from, to);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private readonly void Head(int image, int head, int tokens, int from, int to)
    {
        int d = Heads.Width, width = S.Width, pad = AttentionProduct<S, V>.RowPad;
        int dPad = (d + width - 1) / width * width, tPad = (tokens + width - 1) / width * width;
        int block = Math.Max(pad, Math.Min(BlockFloats / tPad, to - from + pad - 1) / pad * pad);
        float* keys = Scratch.Rent((nint)tPad * d + (nint)tokens * dPad + (nint)block * (tPad + dPad + d + 2));
        float* values = keys + (nint)tPad * d;
        float* scores = values + (nint)tokens * dPad;
        float* output = scores + (nint)block * tPad;
        float* queries = output + (nint)block * dPad;
        float* sums = queries + (nint)block * d;
        float* maxima = sums + block;

        nint row0 = Heads.Offsets[image], column = (nint)head * d;
        // Scores in units of log 2: exp becomes a power of two.
        AttentionPack.Transposed(K + row0 * LdK + column, LdK, tokens, d, keys, width, Heads.Scale * Log2E);
        AttentionPack.Rows<S, V>(Values + row0 * LdV + column, LdV, tokens, d, values, tokens, dPad);
        for (int i = from; i < to; i += block)
        {
            int rows = Math.Min(block, to - i), padded = (rows + pad - 1) / pad * pad;
            AttentionPack.Rows<S, V>(Q + (row0 + i) * LdQ + column, LdQ, rows, d, queries, padded, d);
            AttentionProduct<S, V>.Rows(queries, d, keys, width, (nint)d * width, d, scores, tPad, rows, tPad / width);
            AttentionScores<S, V>.Softmax(scores, tPad, rows, tokens, sums, maxima);
            AttentionProduct<S, V>.Rows(scores, tPad, values, dPad, width, tokens, output, dPad, rows, dPad / width);
            if (LogSumExp != null) StoreLogSumExp(row0 + i, head, rows, sums, maxima);
            for (int r = 0; r < rows; r++) sums[r] = 1f / sums[r];
            AttentionPack.Unpack<S, V>(output, dPad, rows, d, Out + (row0 + i) * LdOut + column, LdOut, sums);
        }
    }

    private readonly void StoreLogSumExp(nint row, int head, int rows, float* sums, float* maxima)
    {
        float* target = LogSumExp + row * Heads.Count + head;
        for (int r = 0; r < rows; r++) target[(nint)r * Heads.Count] = maxima[r] * Ln2 + MathF.Log(sums[r]);
    }
}
