using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Espalier.Tensors.Kernels;

/// <summary>A 4 by 8 tile of C for every other processor: 128-bit vectors where there are any (SSE, Arm), plain floats where
/// there are none. See <see cref="TileSet"/>.</summary>
internal static unsafe class TilePortable
{
    private const int Rows = 4;
    private const int Columns = 8;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(
        nint k, float* a, nint rowA, nint stepA, float* b, nint stepB, float* d, nint rowD, float* c, nint rowC)
    {
        if (!Vector128.IsHardwareAccelerated)
        {
            Scalar(k, a, rowA, stepA, b, stepB, d, rowD, c, rowC);
            return;
        }

        Vector128<float> c0x = Vector128<float>.Zero, c0y = Vector128<float>.Zero;
        Vector128<float> c1x = Vector128<float>.Zero, c1y = Vector128<float>.Zero;
        Vector128<float> c2x = Vector128<float>.Zero, c2y = Vector128<float>.Zero;
        Vector128<float> c3x = Vector128<float>.Zero, c3y = Vector128<float>.Zero;

        nint rowA2 = 2 * rowA;
        nint rowA3 = 3 * rowA;
        for (; k > 0; k--)
        {
            Vector128<float> bx = Vector128.Load(b);
            Vector128<float> by = Vector128.Load(b + 4);
            Vector128<float> r = Vector128.Create(*a);
            c0x = Vector128.MultiplyAddEstimate(r, bx, c0x);
            c0y = Vector128.MultiplyAddEstimate(r, by, c0y);
            r = Vector128.Create(a[rowA]);
            c1x = Vector128.MultiplyAddEstimate(r, bx, c1x);
            c1y = Vector128.MultiplyAddEstimate(r, by, c1y);
            r = Vector128.Create(a[rowA2]);
            c2x = Vector128.MultiplyAddEstimate(r, bx, c2x);
            c2y = Vector128.MultiplyAddEstimate(r, by, c2y);
            r = Vector128.Create(a[rowA3]);
            c3x = Vector128.MultiplyAddEstimate(r, bx, c3x);
            c3y = Vector128.MultiplyAddEstimate(r, by, c3y);
            a += stepA;
            b += stepB;
        }

        Store(c0x, c0y, d, c);
        Store(c1x, c1y, d + rowD, c + rowC);
        Store(c2x, c2y, d + (2 * rowD), c + (2 * rowC));
        Store(c3x, c3y, d + (3 * rowD), c + (3 * rowC));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector128<float> x, Vector128<float> y, float* d, float* c)
    {
        (x + Vector128.Load(d)).Store(c);
        (y + Vector128.Load(d + 4)).Store(c + 4);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scalar(
        nint k, float* a, nint rowA, nint stepA, float* b, nint stepB, float* d, nint rowD, float* c, nint rowC)
    {
        float* sum = stackalloc float[Rows * Columns];
        new Span<float>(sum, Rows * Columns).Clear();
        for (; k > 0; k--)
        {
            for (int i = 0; i < Rows; i++)
            {
                float r = a[i * rowA];
                for (int j = 0; j < Columns; j++)
                {
                    sum[(i * Columns) + j] += r * b[j];
                }
            }

            a += stepA;
            b += stepB;
        }

        for (int i = 0; i < Rows; i++)
        {
            for (int j = 0; j < Columns; j++)
            {
                c[(i * rowC) + j] = sum[(i * Columns) + j] + d[(i * rowD) + j];
            }
        }
    }
}
