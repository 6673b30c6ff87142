using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;
using static Espalier.Tensors.Kernels.AttentionPack;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// The gradients of <see cref="AttentionPrefix{S, V}"/>, an image at a time. The probabilities are computed again; keys,
/// values and their gradients are passed over in place, once for each query.
/// </summary>
internal readonly unsafe struct AttentionPrefixBackward<S, V>(AttentionHeads heads, BackwardOperands x) : IRangeJob
    where S : ISimd<V> where V : struct
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Run(int start, int end, int worker)
    {
        for (int image = start; image < end; image++)
        {
            if (!heads.HasFewQueries(image)) continue;
            nint key0 = heads.Keys[image];
            int tokens = heads.Keys[image + 1] - (int)key0, padded = RoundUp(tokens, S.Width);
            float* p = Scratch.Rent(2 * padded);
            for (int head = 0; head < heads.Count; head++) Head(image, head, key0, tokens, p, p + padded);
        }
    }

    private void Head(int image, int head, nint key0, int tokens, float* p, float* ds)
    {
        nint column = heads.QueryColumns[head], valueColumn = heads.ValueColumns[head];
        int d = heads.QueryWidth(head), dV = heads.ValueWidth(head);
        float* k = x.K + key0 * x.LdK + column, v = x.V + key0 * x.LdV + valueColumn;
        float* dk = x.DK + key0 * x.LdDK + column, dv = x.DV + key0 * x.LdDV + valueColumn;
        bool add = false;
        for (nint row = heads.Queries[image]; row < heads.Queries[image + 1]; row++, add = true)
        {
            float* q = x.Q + row * x.LdQ + column, dOut = x.DOut + row * x.LdDOut + valueColumn;
            float* dq = x.DQ + row * x.LdDQ + column;
            new Span<float>(dq, d).Clear();
            Probabilities(q, k, d, tokens, p);
            Scores(dOut, v, x.LdV, dV, tokens, ds);
            float dot = 0f;
            for (int j = 0; j < tokens; j++) dot += p[j] * ds[j];
            for (int j = 0; j < tokens; j++) ds[j] = p[j] * (ds[j] - dot) * heads.Scale;
            for (int j = 0; j < tokens; j++)
            {
                Multiply(ds[j], k + j * x.LdK, dq, d, add: true);
                Multiply(ds[j], q, dk + j * x.LdDK, d, add);
                Multiply(p[j], dOut, dv + j * x.LdDV, dV, add);
            }
        }

        for (int j = 0; !add && j < tokens; j++)
        {
            new Span<float>(dk + j * x.LdDK, d).Clear();
            new Span<float>(dv + j * x.LdDV, dV).Clear();
        }
    }

    private void Probabilities(float* q, float* k, int d, int tokens, float* p)
    {
        Scores(q, k, x.LdK, d, tokens, p);
        int padded = RoundUp(tokens, S.Width);
        // To units of log 2, as AttentionScores wants them.
        float scale = heads.Scale * 1.44269504f, sum, max;
        for (int j = 0; j < tokens; j++) p[j] *= scale;
        for (int j = tokens; j < padded; j++) p[j] = 0f;
        AttentionScores<S, V>.Softmax(p, padded, 1, tokens, &sum, &max);
        for (int j = 0; j < tokens; j++) p[j] /= sum;
    }

    // scores[j] = a · b[j]
    private static void Scores(float* a, float* b, nint ldb, int d, int tokens, float* scores)
    {
        int whole = d - d % S.Width;
        for (int j = 0; j < tokens; j++, b += ldb)
        {
            V sum = S.Zero;
            for (int c = 0; c < whole; c += S.Width) sum = S.Fma(S.Load(a + c), S.Load(b + c), sum);
            float tail = 0f;
            for (int c = whole; c < d; c++) tail += a[c] * b[c];
            scores[j] = S.Sum(sum) + tail;
        }
    }

    // y (+)= factor * a, over the columns of a head
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply(float factor, float* a, float* y, int d, bool add)
    {
        V f = S.Set(factor);
        int c = 0;
        for (; c <= d - S.Width; c += S.Width)
        {
            S.Store(S.Fma(f, S.Load(a + c), add ? S.Load(y + c) : S.Zero), y + c);
        }

        for (; c < d; c++) y[c] = Scalar.Fma(factor, a[c], add ? y[c] : 0f);
    }
}
