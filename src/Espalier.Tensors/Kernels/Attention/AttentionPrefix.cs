using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;
using static Espalier.Tensors.Kernels.AttentionPack;

namespace Espalier.Tensors.Kernels;

/// <summary>A few queries an image: keys and values are read in place, once for each. An item is an image; those of
/// more queries are left out.</summary>
internal unsafe struct AttentionPrefix<S, V> : IRangeJob where S : ISimd<V> where V : struct
{
    public AttentionHeads Heads;
    public float* Q, K, Values, Out;
    public nint LdQ, LdK, LdV, LdOut;

    [MethodImpl(MethodImplOptions.NoInlining)]
    public readonly void Run(int start, int end, int worker)
    {
        for (int image = start; image < end; image++)
        {
            if (!Heads.HasFewQueries(image)) continue;
            nint key0 = Heads.Keys[image];
            int tokens = Heads.Keys[image + 1] - (int)key0, tPad = RoundUp(tokens, S.Width);
            float* scores = Scratch.Rent(tPad);
            for (int head = 0; head < Heads.Count; head++)
            {
                nint column = Heads.QueryColumns[head], valueColumn = Heads.ValueColumns[head];
                for (nint row = Heads.Queries[image]; row < Heads.Queries[image + 1]; row++)
                {
                    float sum, max;
                    Scores(Q + row * LdQ + column, Heads.QueryWidth(head), K + key0 * LdK + column, tokens, scores);
                    for (int j = tokens; j < tPad; j++) scores[j] = 0f;
                    AttentionScores<S, V>.Softmax(scores, tPad, 1, tokens, &sum, &max);
                    Weighted(scores, 1f / sum, Values + key0 * LdV + valueColumn, Heads.ValueWidth(head), tokens,
                        Out + row * LdOut + valueColumn);
                }
            }
        }
    }

    private readonly void Scores(float* q, int d, float* k, int tokens, float* scores)
    {
        int whole = d - d % S.Width;
        // To units of log 2, as AttentionScores wants them.
        float scale = Heads.Scale * 1.44269504f;
        for (int j = 0; j < tokens; j++, k += LdK)
        {
            V sum = S.Zero;
            for (int c = 0; c < whole; c += S.Width) sum = S.Fma(S.Load(q + c), S.Load(k + c), sum);
            float tail = 0f;
            for (int c = whole; c < d; c++) tail += q[c] * k[c];
            scores[j] = (S.Sum(sum) + tail) * scale;
        }
    }

    // output = factor * weights · values
    private readonly void Weighted(float* weights, float factor, float* values, int d, int tokens, float* output)
    {
        int c = 0;
        for (; c + 4 * S.Width <= d; c += 4 * S.Width)
        {
            V s0 = S.Zero, s1 = S.Zero, s2 = S.Zero, s3 = S.Zero;
            float* v = values + c;
            for (int j = 0; j < tokens; j++, v += LdV)
            {
                V w = S.Set(weights[j]);
                s0 = S.Fma(w, S.Load(v), s0);
                s1 = S.Fma(w, S.Load(v + S.Width), s1);
                s2 = S.Fma(w, S.Load(v + 2 * S.Width), s2);
                s3 = S.Fma(w, S.Load(v + 3 * S.Width), s3);
            }

            V f = S.Set(factor);
            S.Store(S.Mul(s0, f), output + c);
            S.Store(S.Mul(s1, f), output + c + S.Width);
            S.Store(S.Mul(s2, f), output + c + 2 * S.Width);
            S.Store(S.Mul(s3, f), output + c + 3 * S.Width);
        }

        for (; c + S.Width <= d; c += S.Width) OneVector<S, V>(weights, factor, values + c, tokens, output + c);
        for (; c < d; c++) OneVector<Scalar, float>(weights, factor, values + c, tokens, output + c);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void OneVector<T, U>(float* weights, float factor, float* values, int tokens, float* output)
        where T : ISimd<U> where U : struct
    {
        U sum = T.Zero;
        for (int j = 0; j < tokens; j++, values += LdV) sum = T.Fma(T.Set(weights[j]), T.Load(values), sum);
        T.Store(T.Mul(sum, T.Set(factor)), output);
    }
}
