using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>What happens to a block of scores between the two products. Scores are in units of log 2.</summary>
internal static unsafe class AttentionScores<S, V> where S : ISimd<V> where V : struct
{
    /// <summary>
    /// scores [rows, count] become 2^(score - row maximum), not yet divided by their sums; the columns up to the stride
    /// become a number too small to count.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Softmax(float* scores, int stride, int rows, int count, float* sums, float* maxima)
    {
        float* mask = stackalloc float[16];
        int last = stride - S.Width;
        for (int j = 0; j < S.Width; j++) mask[j] = last + j < count ? 0f : -1e30f;
        V tail = S.Load(mask);
        for (int i = 0; i < rows; i++, scores += stride)
        {
            V masked = S.Add(S.Load(scores + last), tail);
            S.Store(masked, scores + last);
            V m0 = masked, m1 = masked;
            int j = 0;
            for (; j + S.Width < last; j += 2 * S.Width)
            {
                m0 = S.Max(m0, S.Load(scores + j));
                m1 = S.Max(m1, S.Load(scores + j + S.Width));
            }

            if (j < last) m0 = S.Max(m0, S.Load(scores + j));
            float max = S.MaxLane(S.Max(m0, m1));
            V shift = S.Set(max), sum = S.Zero;
            for (j = 0; j <= last; j += S.Width)
            {
                V e = Exp.PowerOfTwo<S, V>(S.Sub(S.Load(scores + j), shift));
                S.Store(e, scores + j);
                sum = S.Add(sum, e);
            }

            sums[i] = S.Sum(sum);
            maxima[i] = max;
        }
    }

    /// <summary>
    /// From scores and the gradient of the probabilities, both [rows, stride]: scores become the probabilities
    /// 2^(score - maximum) * factor, and dP the gradient of the scores: p * (dP - dot), where dot is the row's sum of p * dP.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Backward(float* scores, float* dP, int stride, int rows, float* maxima, float* factors, float* dot)
    {
        for (int i = 0; i < rows; i++, scores += stride, dP += stride)
        {
            V shift = S.Set(maxima[i]), factor = S.Set(factors[i]), center = S.Set(dot[i]);
            for (int j = 0; j < stride; j += S.Width)
            {
                V p = S.Mul(Exp.PowerOfTwo<S, V>(S.Sub(S.Load(scores + j), shift)), factor);
                S.Store(p, scores + j);
                S.Store(S.Mul(p, S.Sub(S.Load(dP + j), center)), dP + j);
            }
        }
    }
}
