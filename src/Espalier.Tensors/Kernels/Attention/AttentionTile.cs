using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// The micro-kernels: c[i, :] (+)= sum over p &lt; k of a(i, p) * b[p, :], for 8 or 4 rows i and one strip of columns, all
/// accumulators in registers. Where a is stored by rows, a(i, p) = a[i * aStride + p]; by columns, a[p * aStride + i]. Step p
/// of b stands at b + p * bStep, its vectors bVector floats apart; the rows of c are cStride apart.
/// </summary>
internal static unsafe class AttentionTile
{
    // Compiled at full optimisation from the first call on, and never into a caller, where the many small calls in here would
    // exceed the budget that the JIT has for inlining: left as calls, they make a tile some five times slower.
    private const MethodImplOptions Leaf = MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining;

    [MethodImpl(Leaf)]
    public static void Rows8<T>(
        float* a, nint aStride, float* b, nint bStep, nint bVector, nint k, float* c, nint cStride, bool accumulate)
        where T : struct, IStrip<T>
    {
        float* a1 = a + aStride;
        float* a2 = a1 + aStride;
        float* a3 = a2 + aStride;
        float* a4 = a3 + aStride;
        float* a5 = a4 + aStride;
        float* a6 = a5 + aStride;
        float* a7 = a6 + aStride;
        T c0 = default, c1 = default, c2 = default, c3 = default, c4 = default, c5 = default, c6 = default, c7 = default;
        for (nint p = 0; p < k; p++)
        {
            T row = T.Load(b, bVector);
            c0 = T.Fma(a + p, row, c0);
            c1 = T.Fma(a1 + p, row, c1);
            c2 = T.Fma(a2 + p, row, c2);
            c3 = T.Fma(a3 + p, row, c3);
            c4 = T.Fma(a4 + p, row, c4);
            c5 = T.Fma(a5 + p, row, c5);
            c6 = T.Fma(a6 + p, row, c6);
            c7 = T.Fma(a7 + p, row, c7);
            b += bStep;
        }

        Put(c0, c, accumulate);
        Put(c1, c + cStride, accumulate);
        Put(c2, c + 2 * cStride, accumulate);
        Put(c3, c + 3 * cStride, accumulate);
        Put(c4, c + 4 * cStride, accumulate);
        Put(c5, c + 5 * cStride, accumulate);
        Put(c6, c + 6 * cStride, accumulate);
        Put(c7, c + 7 * cStride, accumulate);
    }

    [MethodImpl(Leaf)]
    public static void Columns8<T>(
        float* a, nint aStride, float* b, nint bStep, nint bVector, nint k, float* c, nint cStride, bool accumulate)
        where T : struct, IStrip<T>
    {
        T c0 = default, c1 = default, c2 = default, c3 = default, c4 = default, c5 = default, c6 = default, c7 = default;
        for (; k > 0; k--)
        {
            T row = T.Load(b, bVector);
            c0 = T.Fma(a, row, c0);
            c1 = T.Fma(a + 1, row, c1);
            c2 = T.Fma(a + 2, row, c2);
            c3 = T.Fma(a + 3, row, c3);
            c4 = T.Fma(a + 4, row, c4);
            c5 = T.Fma(a + 5, row, c5);
            c6 = T.Fma(a + 6, row, c6);
            c7 = T.Fma(a + 7, row, c7);
            b += bStep;
            a += aStride;
        }

        Put(c0, c, accumulate);
        Put(c1, c + cStride, accumulate);
        Put(c2, c + 2 * cStride, accumulate);
        Put(c3, c + 3 * cStride, accumulate);
        Put(c4, c + 4 * cStride, accumulate);
        Put(c5, c + 5 * cStride, accumulate);
        Put(c6, c + 6 * cStride, accumulate);
        Put(c7, c + 7 * cStride, accumulate);
    }

    [MethodImpl(Leaf)]
    public static void Rows4<T>(
        float* a, nint aStride, float* b, nint bStep, nint bVector, nint k, float* c, nint cStride, bool accumulate)
        where T : struct, IStrip<T>
    {
        float* a1 = a + aStride;
        float* a2 = a1 + aStride;
        float* a3 = a2 + aStride;
        T c0 = default, c1 = default, c2 = default, c3 = default;
        for (nint p = 0; p < k; p++)
        {
            T row = T.Load(b, bVector);
            c0 = T.Fma(a + p, row, c0);
            c1 = T.Fma(a1 + p, row, c1);
            c2 = T.Fma(a2 + p, row, c2);
            c3 = T.Fma(a3 + p, row, c3);
            b += bStep;
        }

        Put(c0, c, accumulate);
        Put(c1, c + cStride, accumulate);
        Put(c2, c + 2 * cStride, accumulate);
        Put(c3, c + 3 * cStride, accumulate);
    }

    [MethodImpl(Leaf)]
    public static void Columns4<T>(
        float* a, nint aStride, float* b, nint bStep, nint bVector, nint k, float* c, nint cStride, bool accumulate)
        where T : struct, IStrip<T>
    {
        T c0 = default, c1 = default, c2 = default, c3 = default;
        for (; k > 0; k--)
        {
            T row = T.Load(b, bVector);
            c0 = T.Fma(a, row, c0);
            c1 = T.Fma(a + 1, row, c1);
            c2 = T.Fma(a + 2, row, c2);
            c3 = T.Fma(a + 3, row, c3);
            b += bStep;
            a += aStride;
        }

        Put(c0, c, accumulate);
        Put(c1, c + cStride, accumulate);
        Put(c2, c + 2 * cStride, accumulate);
        Put(c3, c + 3 * cStride, accumulate);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put<T>(T sum, float* c, bool accumulate) where T : struct, IStrip<T>
    {
        if (accumulate) sum = T.Add(sum, c);
        T.Store(sum, c);
    }
}
