using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Passes over NHWC pixels that no convolution could take along.</summary>
internal static unsafe class NhwcPass
{
    /// <summary>y = activation(x · scale + shift + residual), channel by channel. y may be x.</summary>
    /// <param name="x">[pixels] of <paramref name="channels"/> floats, <paramref name="ldx"/> apart.</param>
    /// <param name="scale">[channels]; null for ones, where <paramref name="shift"/> is null too.</param>
    /// <param name="residual">Pixels like y's; null for none.</param>
    public static void Affine(
        int pixels, int channels, float* x, int ldx, float* scale, float* shift, float* residual, int ldResidual,
        Activation activation, float* y, int ldy) =>
        Run(pixels, new Job(channels, x, ldx, scale, shift, residual, ldResidual, activation, y, ldy));

    /// <summary>As <see cref="Affine"/>, on this thread: a part of a larger pass.</summary>
    public static void AffineHere(
        int pixels, int channels, float* x, int ldx, float* scale, float* shift, Activation activation, float* y, int ldy) =>
        new Job(channels, x, ldx, scale, shift, null, 0, activation, y, ldy).Run(0, pixels, 0);

    /// <summary>y = x · scale, a factor for each channel of each image, as squeeze and excitation has them. y may be x.
    /// </summary>
    /// <param name="scale">[images, channels] with row distance <paramref name="ldScale"/>.</param>
    public static void ChannelScale(
        int images, int area, int channels, float* x, int ldx, float* scale, int ldScale, float* y, int ldy)
    {
        for (int i = 0; i < images; i++)
        {
            nint pixel = (nint)i * area;
            var job = new Job(
                channels, x + (pixel * ldx), ldx, scale + ((nint)i * ldScale), null, null, 0, Activation.None,
                y + (pixel * ldy), ldy);
            Run(area, job);
        }
    }

    /// <summary>y = x: a piece of a concatenation.</summary>
    public static void Copy(int pixels, int channels, float* x, int ldx, float* y, int ldy) =>
        Affine(pixels, channels, x, ldx, null, null, null, 0, Activation.None, y, ldy);

    private static void Run(int pixels, in Job job) => Workers.For(pixels, Grain.For(2L * job.Channels), job);

    private readonly struct Job(
        int channels, float* x, nint ldx, float* scale, float* shift, float* residual, nint ldResidual,
        Activation activation, float* y, nint ldy) : IRangeJob
    {
        public int Channels => channels;

        public void Run(int start, int end, int worker)
        {
            for (nint i = start; i < end; i++)
            {
                float* r = residual == null ? null : residual + (i * ldResidual);
                if (Hardware.Has512) Pixel<Simd512, Vector512<float>>(x + (i * ldx), r, y + (i * ldy));
                else if (Hardware.Has256) Pixel<Simd256, Vector256<float>>(x + (i * ldx), r, y + (i * ldy));
                else Pixel<Simd128, Vector128<float>>(x + (i * ldx), r, y + (i * ldy));
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Pixel<S, V>(float* from, float* r, float* to)
            where S : ISimd<V> where V : struct
        {
            int c = 0;
            for (; c <= channels - S.Width; c += S.Width) S.Store(Value<S, V>(from, r, c), to + c);
            for (; c < channels; c++) to[c] = Value<Scalar, float>(from, r, c);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private V Value<S, V>(float* from, float* r, int c)
            where S : ISimd<V> where V : struct
        {
            V z = S.Load(from + c);
            if (shift != null) z = S.Fma(z, S.Load(scale + c), S.Load(shift + c));
            else if (scale != null) z = S.Mul(z, S.Load(scale + c));
            if (r != null) z = S.Add(z, S.Load(r + c));
            return Activations.Of<S, V>(activation, z);
        }
    }
}
