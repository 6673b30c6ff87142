using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;
using static Espalier.Tensors.Kernels.AttentionPack;

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
    public AttentionBias Bias;
    public float* Q, K, Values, Out, Softmax;
    public nint LdQ, LdK, LdV, LdOut;

    /// <summary>How probabilities are rounded; null for not at all.</summary>
    public ProbabilityRange? Probabilities;

    /// <summary>Whether images of few queries are done otherwise.</summary>
    public bool WithoutFew;

    /// <summary>Into how many runs of query rows a pair is cut, so that few images keep many threads busy.</summary>
    public int Cuts;

    [MethodImpl(MethodImplOptions.NoInlining)]
    public readonly void Run(int start, int end, int worker)
    {
        for (int item = start; item < end; item++)
        {
            int pair = item / Cuts, cut = item % Cuts;
            int image = pair / Heads.Count, queries = Heads.Queries[image + 1] - Heads.Queries[image];
            int run = RoundUp((queries + Cuts - 1) / Cuts, AttentionProduct<S, V>.RowPad);
            int from = Math.Min(queries, cut * run), to = Math.Min(queries, from + run);
            if (from < to && !(WithoutFew && Heads.HasFewQueries(image))) Head(image, pair % Heads.Count, from, to);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private readonly void Head(int image, int head, int from, int to)
    {
        nint query0 = Heads.Queries[image], key0 = Heads.Keys[image];
        int tokens = Heads.Keys[image + 1] - (int)key0;
        int d = Heads.QueryWidth(head), dv = Heads.ValueWidth(head), width = S.Width, pad = AttentionProduct<S, V>.RowPad;
        nint column = Heads.QueryColumns[head], valueColumn = Heads.ValueColumns[head];
        if (tokens == 0)
        {
            NoKeys(query0, head, from, to);
            return;
        }

        int dPad = RoundUp(dv, width), keyRows = RoundUp(tokens, pad);
        int block = Math.Clamp(BlockFloats / tokens / width * width, width, RoundUp(to - from, width));
        int blockRows = RoundUp(block, pad);
        nint biasFloats = Bias.IsEmpty ? 0 : Bias.IsOfKeys ? tokens : (nint)block * tokens;
        float* keys = Scratch.Rent(((nint)keyRows * (d + block)) + ((nint)tokens * dPad)
            + ((nint)block * d) + ((nint)blockRows * (dPad + 2)) + (2 * biasFloats));
        float* values = keys + (nint)keyRows * d;
        float* scores = values + (nint)tokens * dPad;
        float* queries = scores + (nint)keyRows * block;
        float* output = queries + (nint)block * d;
        float* sums = output + (nint)blockRows * dPad;
        float* maxima = sums + block;
        float* bias = sums + 2 * blockRows;

        AttentionPack.Rows<S, V>(K + key0 * LdK + column, LdK, tokens, d, keys, keyRows, d);
        AttentionPack.Rows<S, V>(Values + key0 * LdV + valueColumn, LdV, tokens, dv, values, tokens, dPad);
        for (int j = 0; Bias.IsOfKeys && j < tokens; j++) bias[j] = Bias.OfKeys[(key0 + j) * Bias.KeyStride] * Log2E;
        for (int i = from; i < to; i += block)
        {
            int rows = Math.Min(block, to - i), vectors = (rows + width - 1) / width;
            nint row = query0 + i;
            // Scores in units of log 2: exp becomes a power of two.
            AttentionPack.Transposed(Q + row * LdQ + column, LdQ, rows, d, queries, width, Heads.Scale * Log2E);
            AttentionProduct<S, V>.Rows(keys, d, queries, width, (nint)d * width, d, scores, block, tokens, vectors);
            if (Bias.IsEmpty)
            {
                AttentionSoftmax<S, V>.Run(scores, block, tokens, vectors, sums, maxima);
            }
            else if (Bias.IsOfKeys)
            {
                AttentionBiased<S, V>.SoftmaxOfKeys(scores, block, bias, tokens, vectors, sums, maxima);
            }
            else
            {
                Bias.Fill(head, row, rows, key0, tokens, bias, tokens);
                AttentionPack.Transposed(bias, tokens, rows, tokens, bias + biasFloats, width, Log2E);
                AttentionBiased<S, V>.Softmax(scores, block, bias + biasFloats, tokens, vectors, sums, maxima);
            }

            Probabilities?.Round<S, V>(scores, block, tokens, vectors, sums);
            AttentionProduct<S, V>.Columns(
                scores, block, values, dPad, tokens, output, dPad, rows, dPad / width, accumulate: false);
            if (Softmax != null) Save(row, head, rows, sums, maxima);
            for (int r = 0; r < rows; r += width) S.Store(S.Div(S.Set(1f), S.Load(sums + r)), sums + r);
            AttentionPack.Unpack<S, V>(output, dPad, rows, dv, Out + row * LdOut + valueColumn, LdOut, 1f, sums);
        }
    }

    private readonly void Save(nint row, int head, int rows, float* sums, float* maxima)
    {
        float* target = Softmax + 2 * (row * Heads.Count + head);
        for (int r = 0; r < rows; r++, target += 2 * Heads.Count) (target[0], target[1]) = (maxima[r], sums[r]);
    }

    private readonly void NoKeys(nint query0, int head, int from, int to)
    {
        for (nint row = query0 + from; row < query0 + to; row++)
            new Span<float>(Out + row * LdOut + Heads.ValueColumns[head], Heads.ValueWidth(head)).Clear();
    }
}
