using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// The inner loops of <see cref="PlaneConvolution"/>. A step of the sum is one tap of one channel: the padded plane of that
/// channel, shifted, so that neighbouring outputs lie side by side in memory and no columns are gathered.
/// </summary>
internal static unsafe class PlaneTile
{
    /// <summary>The tile of <paramref name="height"/> outputs, 8 or 4.</summary>
    public static void Run<S, V>(int height, nint k, float* w, int* offsets, float* x, float* y, nint rowY)
        where V : struct
        where S : struct, ISimd<V>
    {
        if (height == 8) Eight<S, V>(k, w, offsets, x, y, rowY);
        else Four<S, V>(k, w, offsets, x, y, rowY);
    }

    /// <summary>
    /// y [8, 2 vectors] = sum over k steps of w [k, 8] times the two vectors at x + offsets[step]. 16 sums take two vectors of x
    /// and one broadcast besides: for processors with 32 registers.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Eight<S, V>(nint k, float* w, int* offsets, float* x, float* y, nint rowY)
        where V : struct
        where S : struct, ISimd<V>
    {
        V a0 = S.Zero, a1 = S.Zero, a2 = S.Zero, a3 = S.Zero, a4 = S.Zero, a5 = S.Zero, a6 = S.Zero, a7 = S.Zero;
        V b0 = S.Zero, b1 = S.Zero, b2 = S.Zero, b3 = S.Zero, b4 = S.Zero, b5 = S.Zero, b6 = S.Zero, b7 = S.Zero;
        for (; k > 0; k--)
        {
            float* at = x + *offsets++;
            V p = S.Load(at), q = S.Load(at + S.Width);
            V r = S.Broadcast(w);
            a0 = S.Fma(r, p, a0);
            b0 = S.Fma(r, q, b0);
            r = S.Broadcast(w + 1);
            a1 = S.Fma(r, p, a1);
            b1 = S.Fma(r, q, b1);
            r = S.Broadcast(w + 2);
            a2 = S.Fma(r, p, a2);
            b2 = S.Fma(r, q, b2);
            r = S.Broadcast(w + 3);
            a3 = S.Fma(r, p, a3);
            b3 = S.Fma(r, q, b3);
            r = S.Broadcast(w + 4);
            a4 = S.Fma(r, p, a4);
            b4 = S.Fma(r, q, b4);
            r = S.Broadcast(w + 5);
            a5 = S.Fma(r, p, a5);
            b5 = S.Fma(r, q, b5);
            r = S.Broadcast(w + 6);
            a6 = S.Fma(r, p, a6);
            b6 = S.Fma(r, q, b6);
            r = S.Broadcast(w + 7);
            a7 = S.Fma(r, p, a7);
            b7 = S.Fma(r, q, b7);
            w += 8;
        }
        Store<S, V>(a0, b0, y);
        Store<S, V>(a1, b1, y + rowY);
        Store<S, V>(a2, b2, y + 2 * rowY);
        Store<S, V>(a3, b3, y + 3 * rowY);
        Store<S, V>(a4, b4, y + 4 * rowY);
        Store<S, V>(a5, b5, y + 5 * rowY);
        Store<S, V>(a6, b6, y + 6 * rowY);
        Store<S, V>(a7, b7, y + 7 * rowY);
    }

    /// <summary>The same for four outputs: for the last ones, and for processors with 16 registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Four<S, V>(nint k, float* w, int* offsets, float* x, float* y, nint rowY)
        where V : struct
        where S : struct, ISimd<V>
    {
        V a0 = S.Zero, a1 = S.Zero, a2 = S.Zero, a3 = S.Zero;
        V b0 = S.Zero, b1 = S.Zero, b2 = S.Zero, b3 = S.Zero;
        for (; k > 0; k--)
        {
            float* at = x + *offsets++;
            V p = S.Load(at), q = S.Load(at + S.Width);
            V r = S.Broadcast(w);
            a0 = S.Fma(r, p, a0);
            b0 = S.Fma(r, q, b0);
            r = S.Broadcast(w + 1);
            a1 = S.Fma(r, p, a1);
            b1 = S.Fma(r, q, b1);
            r = S.Broadcast(w + 2);
            a2 = S.Fma(r, p, a2);
            b2 = S.Fma(r, q, b2);
            r = S.Broadcast(w + 3);
            a3 = S.Fma(r, p, a3);
            b3 = S.Fma(r, q, b3);
            w += 4;
        }
        Store<S, V>(a0, b0, y);
        Store<S, V>(a1, b1, y + rowY);
        Store<S, V>(a2, b2, y + 2 * rowY);
        Store<S, V>(a3, b3, y + 3 * rowY);
    }

    /// <summary>
    /// Adds to dw [4, 3] the sums over some images of dy's planes times x's, shifted by three offsets: length floats of each
    /// plane, a multiple of the vector. rows has the offsets of dy's four planes.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Gradient<S, V>(
        int images, nint length, float* dy, nint imageDy, int* rows, float* x, nint imageX, int* offsets, float* dw)
        where V : struct
        where S : struct, ISimd<V>
    {
        V s00 = S.Zero, s01 = S.Zero, s02 = S.Zero, s10 = S.Zero, s11 = S.Zero, s12 = S.Zero;
        V s20 = S.Zero, s21 = S.Zero, s22 = S.Zero, s30 = S.Zero, s31 = S.Zero, s32 = S.Zero;
        nint r1 = rows[1] - rows[0], r2 = rows[2] - rows[0], r3 = rows[3] - rows[0];
        nint o1 = offsets[1] - offsets[0], o2 = offsets[2] - offsets[0];
        for (; images > 0; images--)
        {
            float* g = dy + rows[0], at = x + offsets[0];
            for (float* end = g + length; g < end; g += S.Width, at += S.Width)
            {
                V p0 = S.Load(at), p1 = S.Load(at + o1), p2 = S.Load(at + o2);
                V r = S.Load(g);
                s00 = S.Fma(r, p0, s00);
                s01 = S.Fma(r, p1, s01);
                s02 = S.Fma(r, p2, s02);
                r = S.Load(g + r1);
                s10 = S.Fma(r, p0, s10);
                s11 = S.Fma(r, p1, s11);
                s12 = S.Fma(r, p2, s12);
                r = S.Load(g + r2);
                s20 = S.Fma(r, p0, s20);
                s21 = S.Fma(r, p1, s21);
                s22 = S.Fma(r, p2, s22);
                r = S.Load(g + r3);
                s30 = S.Fma(r, p0, s30);
                s31 = S.Fma(r, p1, s31);
                s32 = S.Fma(r, p2, s32);
            }
            dy += imageDy;
            x += imageX;
        }
        dw[0] += S.Sum(s00);
        dw[1] += S.Sum(s01);
        dw[2] += S.Sum(s02);
        dw[3] += S.Sum(s10);
        dw[4] += S.Sum(s11);
        dw[5] += S.Sum(s12);
        dw[6] += S.Sum(s20);
        dw[7] += S.Sum(s21);
        dw[8] += S.Sum(s22);
        dw[9] += S.Sum(s30);
        dw[10] += S.Sum(s31);
        dw[11] += S.Sum(s32);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<S, V>(V a, V b, float* y)
        where V : struct
        where S : struct, ISimd<V>
    {
        S.Store(a, y);
        S.Store(b, y + S.Width);
    }
}
