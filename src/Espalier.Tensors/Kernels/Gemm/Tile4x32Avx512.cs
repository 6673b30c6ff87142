using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>A 4 by 32 tile of C for AVX-512, for the rows that 12-row tiles leave. See <see cref="TileSet"/>.</summary>
internal static unsafe class Tile4x32Avx512
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(
        nint k, float* a, nint rowA, nint stepA, float* b, nint stepB, float* d, nint rowD, float* c, nint rowC)
    {
        for (nint i = 0; i < 4; i++)
        {
            Sse.Prefetch0(c + (i * rowC));
            Sse.Prefetch0(c + (i * rowC) + 16);
        }

        Vector512<float> c0x = Vector512<float>.Zero, c0y = Vector512<float>.Zero;
        Vector512<float> c1x = Vector512<float>.Zero, c1y = Vector512<float>.Zero;
        Vector512<float> c2x = Vector512<float>.Zero, c2y = Vector512<float>.Zero;
        Vector512<float> c3x = Vector512<float>.Zero, c3y = Vector512<float>.Zero;

        nint rowA2 = 2 * rowA;
        float* a3 = a + (3 * rowA);
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
            a += stepA;
            a3 += stepA;
            b += stepB;
        }

        Store(c0x, c0y, d, c);
        Store(c1x, c1y, d + rowD, c + rowC);
        Store(c2x, c2y, d + (2 * rowD), c + (2 * rowC));
        Store(c3x, c3y, d + (3 * rowD), c + (3 * rowC));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<float> x, Vector512<float> y, float* d, float* c)
    {
        (x + Vector512.Load(d)).Store(c);
        (y + Vector512.Load(d + 16)).Store(c + 16);
    }
}
