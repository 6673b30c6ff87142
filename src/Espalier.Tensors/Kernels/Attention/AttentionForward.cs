using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// One head of one image at a time, a block of queries after another, whose scores stay in the first-level cache. The scores
/// are transposed, [keys, queries]: with queries side by side in a vector, the softmax needs no sums across its lanes, and
/// keys and values are read as they lie.
/// </summary>
internal unsafe struct AttentionForward<S, V> : IRangeJob where S : ISimd<V> where V : struct
{
    // Half a first-level cache for the scores of a block; the other half is for the keys and values passing by.
    private const int BlockFloats = 26 * 1024 / sizeof(float);
    private const float Log2E = 1.44269504f;

    public AttentionHeads Heads;
    public float* Q, K, Values, Out, Softmax;
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
        int dPad = RoundUp(d, width), keyRows = RoundUp(tokens, pad);
        int block = Math.Clamp(BlockFloats / tokens / width * width, width, RoundUp(to - from, width));
        int blockRows = RoundUp(block, pad);
        float* keys = Scratch.Rent(((nint)keyRows * (d + block)) + ((nint)tokens * dPad) + ((nint)blockRows * (d + dPad + 2)));
        float* values = keys + (nint)keyRows * d;
        float* scores = values + (nint)tokens * dPad;
        float* queries = scores + (nint)keyRows * block;
        float* output = queries + (nint)block * d;
        float* sums = output + (nint)blockRows * dPad;
        float* maxima = sums + block;

        nint row0 = Heads.Offsets[image], column = (nint)head * d;
        AttentionPack.Rows<S, V>(K + row0 * LdK + column, LdK, tokens, d, keys, keyRows, d);
        AttentionPack.Rows<S, V>(Values + row0 * LdV + column, LdV, tokens, d, values, tokens, dPad);
        for (int i = from; i < to; i += block)
        {
            int rows = Math.Min(block, to - i), vectors = (rows + width - 1) / width;
            // Scores in units of log 2: exp becomes a power of two.
            AttentionPack.Transposed(Q + (row0 + i) * LdQ + column, LdQ, rows, d, queries, width, Heads.Scale * Log2E);
            AttentionProduct<S, V>.Rows(keys, d, queries, width, (nint)d * width, d, scores, block, tokens, vectors);
            AttentionSoftmax<S, V>.Run(scores, block, tokens, vectors, sums, maxima);
            AttentionProduct<S, V>.Columns(scores, block, values, dPad, tokens, output, dPad, rows, dPad / width, accumulate: false);
            if (Softmax != null) Save(row0 + i, head, rows, sums, maxima);
            for (int r = 0; r < rows; r += width) S.Store(S.Div(S.Set(1f), S.Load(sums + r)), sums + r);
            AttentionPack.Unpack<S, V>(output, dPad, rows, d, Out + (row0 + i) * LdOut + column, LdOut, 1f, sums);
        }
    }

    private readonly void Save(nint row, int head, int rows, float* sums, float* maxima)
    {
        float* target = Softmax + 2 * (row * Heads.Count + head);
        for (int r = 0; r < rows; r++, target += 2 * Heads.Count) (target[0], target[1]) = (maxima[r], sums[r]);
    }

    private static int RoundUp(int value, int multiple) => (value + multiple - 1) / multiple * multiple;
}
