using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>The softmax of a block of transposed scores, in units of log 2: each lane is a query of its own.</summary>
internal static unsafe class AttentionSoftmax<S, V> where S : ISimd<V> where V : struct
{
    /// <summary>scores [keys, stride] become 2^(score - maximum of the column), not yet divided by their sums.</summary>
    /// <param name="vectors">Vectors of queries in a row: the columns that are there.</param>
    /// <param name="sums">[vectors of queries], written; likewise <paramref name="maxima"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Run(float* scores, nint stride, int keys, int vectors, float* sums, float* maxima)
    {
        for (int i = 0; i < vectors; i++)
        {
            float* column = scores + (i * S.Width);
            V max = Max(column, stride, keys);
            V sum0 = S.Zero, sum1 = S.Zero;
            float* p = column;
            int j = 0;
            for (; j < keys - 1; j += 2)
            {
                V e0 = Exp.PowerOfTwo<S, V>(S.Sub(S.Load(p), max));
                V e1 = Exp.PowerOfTwo<S, V>(S.Sub(S.Load(p + stride), max));
                S.Store(e0, p);
                S.Store(e1, p + stride);
                sum0 = S.Add(sum0, e0);
                sum1 = S.Add(sum1, e1);
                p += 2 * stride;
            }

            if (j < keys)
            {
                V e = Exp.PowerOfTwo<S, V>(S.Sub(S.Load(p), max));
                S.Store(e, p);
                sum0 = S.Add(sum0, e);
            }

            S.Store(S.Add(sum0, sum1), sums + (i * S.Width));
            S.Store(max, maxima + (i * S.Width));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Max(float* column, nint stride, int keys)
    {
        V m0 = S.Load(column), m1 = m0;
        float* p = column + stride;
        int j = 1;
        for (; j < keys - 1; j += 2)
        {
            m0 = S.Max(m0, S.Load(p));
            m1 = S.Max(m1, S.Load(p + stride));
            p += 2 * stride;
        }

        return j < keys ? S.Max(S.Max(m0, S.Load(p)), m1) : S.Max(m0, m1);
    }
}
