using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Espalier.Tensors.Kernels;

/// <summary>Copies stretches of an input for a convolution: as they are, or with the batch norm and ReLU that precede it.
/// </summary>
internal static unsafe class InputRows
{
    /// <summary>y = x, or relu(x · scale + shift) where scale is not null: <paramref name="pixels"/> times
    /// <paramref name="channels"/> floats.</summary>
    public static void Copy(
        float* x, nint ldx, float* y, nint ldy, int pixels, int channels, float* scale, float* shift)
    {
        if (scale == null && ldx == channels && ldy == channels)
        {
            (pixels, channels) = (1, pixels * channels);
        }

        if (Hardware.Has512) Copy<Simd512, Vector512<float>>(x, ldx, y, ldy, pixels, channels, scale, shift);
        else if (Hardware.Has256) Copy<Simd256, Vector256<float>>(x, ldx, y, ldy, pixels, channels, scale, shift);
        else Copy<Simd128, Vector128<float>>(x, ldx, y, ldy, pixels, channels, scale, shift);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Copy<S, V>(
        float* x, nint ldx, float* y, nint ldy, int pixels, int channels, float* scale, float* shift)
        where S : ISimd<V> where V : struct
    {
        for (; pixels > 0; pixels--, x += ldx, y += ldy)
        {
            int c = 0;
            if (scale == null)
            {
                for (; c <= channels - S.Width; c += S.Width) S.Store(S.Load(x + c), y + c);
                for (; c < channels; c++) y[c] = x[c];
                continue;
            }

            for (; c <= channels - S.Width; c += S.Width)
            {
                V z = S.Fma(S.Load(x + c), S.Load(scale + c), S.Load(shift + c));
                S.Store(S.Max(S.Zero, z), y + c);
            }

            for (; c < channels; c++) y[c] = Scalar.Max(0f, Scalar.Fma(x[c], scale[c], shift[c]));
        }
    }
}
