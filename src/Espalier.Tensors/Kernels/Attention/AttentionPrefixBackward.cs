using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// The gradients of <see cref="AttentionPrefix{S, V}"/>, an image at a time. The probabilities are computed again; keys,
/// values and their gradients are passed over in place, once for each query.
/// </summary>
internal readonly unsafe struct AttentionPrefixBackward<S, V>(AttentionHeads heads, int queries, BackwardOperands x) : IRangeJob
    where S : ISimd<V> where V : struct
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Run(int start, int end, int worker)
    {
        for (int image = start; image < end; image++)
        {
            nint row0 = heads.Offsets[image];
            int tokens = heads.Offsets[image + 1] - (int)row0;
            if (tokens == 0) continue;
            int padded = (tokens + S.Width - 1) / S.Width * S.Width;
            float* p = Scratch.Rent(2 * padded);
            for (int head = 0; head < heads.Count; head++)
            {
                nint column = (nint)head * heads.Width;
                float* k = x.K + row0 * x.LdK + column, v = x.V + row0 * x.LdV + column;
                float* dk = x.DK + row0 * x.LdDK + column, dv = x.DV + row0 * x.LdDV + column;
                for (int query = 0; query < queries; query++)
                {
                    nint row = (nint)image * queries + query;
                    float* q = x.Q + row * x.LdQ + column, dOut = x.DOut + row * x.LdDOut + column;
                    Probabilities(q, k, tokens, padded, p);
                    float* ds = p + padded;
                    Scores(dOut, v, x.LdV, tokens, ds);
                    float dot = 0f;
                    for (int j = 0; j < tokens; j++) dot += p[j] * ds[j];
                    for (int j = 0; j < tokens; j++) ds[j] = p[j] * (ds[j] - dot) * heads.Scale;
                    float* dq = x.DQ + row * x.LdDQ + column;
                    new Span<float>(dq, heads.Width).Clear();
                    for (int j = 0; j < tokens; j++)
                    {
                        Multiply(ds[j], k + j * x.LdK, dq, add: true);
                        Multiply(ds[j], q, dk + j * x.LdDK, add: query > 0);
                        Multiply(p[j], dOut, dv + j * x.LdDV, add: query > 0);
                    }
                }
            }
        }
    }

    private void Probabilities(float* q, float* k, int tokens, int padded, float* p)
    {
        Scores(q, k, x.LdK, tokens, p);
        // To units of log 2, as AttentionScores wants them.
        float scale = heads.Scale * 1.44269504f, sum, max;
        for (int j = 0; j < tokens; j++) p[j] *= scale;
        for (int j = tokens; j < padded; j++) p[j] = 0f;
        AttentionScores<S, V>.Softmax(p, padded, 1, tokens, &sum, &max);
        for (int j = 0; j < tokens; j++) p[j] /= sum;
    }

    // scores[j] = a · b[j]
    private void Scores(float* a, float* b, nint ldb, int tokens, float* scores)
    {
        int d = heads.Width, whole = d - d % S.Width;
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
    private void Multiply(float factor, float* a, float* y, bool add)
    {
        V f = S.Set(factor);
        int c = 0;
        for (; c <= heads.Width - S.Width; c += S.Width)
        {
            S.Store(S.Fma(f, S.Load(a + c), add ? S.Load(y + c) : S.Zero), y + c);
        }

        for (; c < heads.Width; c++) y[c] = Scalar.Fma(factor, a[c], add ? y[c] : 0f);
    }
}
