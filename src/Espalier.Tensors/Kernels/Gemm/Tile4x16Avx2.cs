using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>A 4 by 16 tile of C for AVX2 with FMA, for the rows that 6-row tiles leave. See <see cref="TileSet"/>.</summary>
internal static unsafe class Tile4x16Avx2
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(
        nint k, float* a, nint rowA, nint stepA, float* b, nint stepB, float* d, nint rowD, float* c, nint rowC)
    {
        for (nint i = 0; i < 4; i++)
        {
            Sse.Prefetch0(c + (i * rowC));
        }

        Vector256<float> c0x = Vector256<float>.Zero, c0y = Vector256<float>.Zero;
        Vector256<float> c1x = Vector256<float>.Zero, c1y = Vector256<float>.Zero;
        Vector256<float> c2x = Vector256<float>.Zero, c2y = Vector256<float>.Zero;
        Vector256<float> c3x = Vector256<float>.Zero, c3y = Vector256<float>.Zero;

        nint rowA2 = 2 * rowA;
        float* a3 = a + (3 * rowA);
        for (; k > 0; k--)
        {
            Vector256<float> bx = Vector256.Load(b);
            Vector256<float> by = Vector256.Load(b + 8);
            Vector256<float> r = Vector256.Create(*a);
            c0x = Fma.MultiplyAdd(r, bx, c0x);
            c0y = Fma.MultiplyAdd(r, by, c0y);
            r = Vector256.Create(a[rowA]);
            c1x = Fma.MultiplyAdd(r, bx, c1x);
            c1y = Fma.MultiplyAdd(r, by, c1y);
            r = Vector256.Create(a[rowA2]);
            c2x = Fma.MultiplyAdd(r, bx, c2x);
            c2y = Fma.MultiplyAdd(r, by, c2y);
            r = Vector256.Create(*a3);
            c3x = Fma.MultiplyAdd(r, bx, c3x);
            c3y = Fma.MultiplyAdd(r, by, c3y);
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
    private static void Store(Vector256<float> x, Vector256<float> y, float* d, float* c)
    {
        (x + Vector256.Load(d)).Store(c);
        (y + Vector256.Load(d + 8)).Store(c + 8);
    }
}
