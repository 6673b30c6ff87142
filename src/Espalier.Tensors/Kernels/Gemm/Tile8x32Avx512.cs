using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>An 8 by 32 tile of C for AVX-512, for the rows that 12-row tiles leave. See <see cref="TileSet"/>.</summary>
internal static unsafe class Tile8x32Avx512
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(
        nint k, float* a, nint rowA, nint stepA, float* b, nint stepB, float* d, nint rowD, float* c, nint rowC)
    {
        for (nint i = 0; i < 8; i++)
        {
            Sse.Prefetch0(c + (i * rowC));
            Sse.Prefetch0(c + (i * rowC) + 16);
        }

        Vector512<float> c0x = Vector512<float>.Zero, c0y = Vector512<float>.Zero;
        Vector512<float> c1x = Vector512<float>.Zero, c1y = Vector512<float>.Zero;
        Vector512<float> c2x = Vector512<float>.Zero, c2y = Vector512<float>.Zero;
        Vector512<float> c3x = Vector512<float>.Zero, c3y = Vector512<float>.Zero;
        Vector512<float> c4x = Vector512<float>.Zero, c4y = Vector512<float>.Zero;
        Vector512<float> c5x = Vector512<float>.Zero, c5y = Vector512<float>.Zero;
        Vector512<float> c6x = Vector512<float>.Zero, c6y = Vector512<float>.Zero;
        Vector512<float> c7x = Vector512<float>.Zero, c7y = Vector512<float>.Zero;

        nint rowA2 = 2 * rowA;
        float* a3 = a + (3 * rowA);
        float* a6 = a + (6 * rowA);
        for (; k > 0; k--)
        {
            Vector512<float> bx = Vector512.Load(b);
            Vector512<float> by = Vector512.Load(b + 16);
            Vector512<float> r = Vector512.Create(*a);
            c0x = Avx512F.FusedMultiplyAdd(r, bx, c0x);
            c0y = Avx512F.FusedMultiplyAdd(r, by, c0y);
            r = Vector512.Create(a[rowA]);
            c1x = Avx512F.FusedMultiplyAdd(r, bx, c1x);
            c1y = Avx512F.FusedMultiplyAdd(r, by, c1y);
            r = Vector512.Create(a[rowA2]);
            c2x = Avx512F.FusedMultiplyAdd(r, bx, c2x);
            c2y = Avx512F.FusedMultiplyAdd(r, by, c2y);
            r = Vector512.Create(*a3);
            c3x = Avx512F.FusedMultiplyAdd(r, bx, c3x);
            c3y = Avx512F.FusedMultiplyAdd(r, by, c3y);
            r = Vector512.Create(a3[rowA]);
            c4x = Avx512F.FusedMultiplyAdd(r, bx, c4x);
            c4y = Avx512F.FusedMultiplyAdd(r, by, c4y);
            r = Vector512.Create(a3[rowA2]);
            c5x = Avx512F.FusedMultiplyAdd(r, bx, c5x);
            c5y = Avx512F.FusedMultiplyAdd(r, by, c5y);
            r = Vector512.Create(*a6);
            c6x = Avx512F.FusedMultiplyAdd(r, bx, c6x);
            c6y = Avx512F.FusedMultiplyAdd(r, by, c6y);
            r = Vector512.Create(a6[rowA]);
            c7x = Avx512F.FusedMultiplyAdd(r, bx, c7x);
            c7y = Avx512F.FusedMultiplyAdd(r, by, c7y);
            a += stepA;
            a3 += stepA;
            a6 += stepA;
            b += stepB;
        }

        Store(c0x, c0y, d, c);
        Store(c1x, c1y, d + rowD, c + rowC);
        Store(c2x, c2y, d + (2 * rowD), c + (2 * rowC));
        Store(c3x, c3y, d + (3 * rowD), c + (3 * rowC));
        Store(c4x, c4y, d + (4 * rowD), c + (4 * rowC));
        Store(c5x, c5y, d + (5 * rowD), c + (5 * rowC));
        Store(c6x, c6y, d + (6 * rowD), c + (6 * rowC));
        Store(c7x, c7y, d + (7 * rowD), c + (7 * rowC));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<float> x, Vector512<float> y, float* d, float* c)
    {
        (x + Vector512.Load(d)).Store(c);
        (y + Vector512.Load(d + 16)).Store(c + 16);
    }
}
