using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Group normalisation of NHWC images at inference: y = activation((x - mean) / sqrt(variance + eps) · gamma + beta), mean and
/// variance over the pixels of a group of neighbouring channels of one image. Sums are taken over stretches of pixels and then
/// in order, so that the result does not depend on the number of threads.
/// </summary>
internal readonly unsafe struct NhwcGroupNorm(int area, int channels, int groups, float epsilon, Activation activation)
{
    /// <summary>Pixels of a stretch: few enough for sums in single precision.</summary>
    private const int Stretch = 256;

    private readonly int area = area, channels = channels, groups = groups;
    private readonly float epsilon = epsilon;
    private readonly Activation activation = activation;

    private int Stretches => (area + Stretch - 1) / Stretch;

    /// <summary>y may be x.</summary>
    /// <param name="x">[images, area] pixels of the channels, <paramref name="ldx"/> floats apart.</param>
    /// <param name="gamma">[channels]; likewise beta.</param>
    /// <param name="y">Pixels, <paramref name="ldy"/> floats apart.</param>
    public void Run(int images, float* x, int ldx, float* gamma, float* beta, float* y, int ldy)
    {
        nint pixels = (nint)images * channels;
        float* sums = Scratch.Rent((Stretches + 2) * pixels), scale = sums + Stretches * pixels, shift = scale + pixels;
        int items = images * Stretches, grain = Grain.For((long)Math.Min(area, Stretch) * channels);
        Workers.For(items, grain, new SumJob(this, x, ldx, null, sums));
        // The means stand where the shifts will.
        for (int i = 0; i < images; i++) Gather(i, sums, shift, squares: false);
        Workers.For(items, grain, new SumJob(this, x, ldx, shift, sums));
        for (int i = 0; i < images; i++)
        {
            Gather(i, sums, scale, squares: true);
            for (int c = 0; c < channels; c++)
            {
                float* s = scale + (nint)i * channels + c, t = shift + (nint)i * channels + c;
                *s *= gamma[c];
                *t = beta[c] - *t * *s;
            }
        }
        Workers.For(items, grain, new ScaleJob(this, x, ldx, scale, shift, y, ldy));
    }

    /// <summary>From the sums of an image's stretches to each channel's mean, or 1 / deviation, which is its group's.</summary>
    private void Gather(int image, float* sums, float* result, bool squares)
    {
        int size = channels / groups;
        float* first = sums + (nint)image * Stretches * channels, to = result + (nint)image * channels;
        for (int g = 0; g < groups; g++, first += size, to += size)
        {
            double sum = 0;
            for (int s = 0; s < Stretches; s++)
                for (int c = 0; c < size; c++) sum += first[(nint)s * channels + c];
            double mean = sum / ((double)size * area);
            new Span<float>(to, size).Fill((float)(squares ? 1 / Math.Sqrt(mean + epsilon) : mean));
        }
    }

    private (int Image, nint First, int Count) Item(int i)
    {
        int image = i / Stretches, first = i % Stretches * Stretch;
        return (image, (nint)image * area + first, Math.Min(Stretch, area - first));
    }

    /// <summary>Sums of x, or of (x - mean)², of each channel over a stretch.</summary>
    private readonly struct SumJob(NhwcGroupNorm n, float* x, nint ldx, float* means, float* sums) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                var (image, first, count) = n.Item(i);
                float* from = x + first * ldx, mean = means == null ? null : means + (nint)image * n.channels;
                float* to = sums + (nint)i * n.channels;
                if (Hardware.Has512) Channels<Simd512, Vector512<float>>(from, ldx, count, n.channels, mean, to);
                else if (Hardware.Has256) Channels<Simd256, Vector256<float>>(from, ldx, count, n.channels, mean, to);
                else Channels<Simd128, Vector128<float>>(from, ldx, count, n.channels, mean, to);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private static void Channels<S, V>(float* x, nint ldx, int count, int channels, float* mean, float* to)
            where S : ISimd<V> where V : struct
        {
            int c = 0;
            for (; c <= channels - S.Width; c += S.Width) S.Store(Sum<S, V>(x + c, ldx, count, At(mean, c)), to + c);
            for (; c < channels; c++) to[c] = Sum<Scalar, float>(x + c, ldx, count, At(mean, c));
        }

        private static float* At(float* mean, int channel) => mean == null ? null : mean + channel;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static V Sum<S, V>(float* x, nint ldx, int count, float* mean) where S : ISimd<V> where V : struct
        {
            V sum = S.Zero;
            if (mean == null)
            {
                for (; count > 0; count--, x += ldx) sum = S.Add(sum, S.Load(x));
                return sum;
            }
            V m = S.Load(mean);
            for (; count > 0; count--, x += ldx)
            {
                V d = S.Sub(S.Load(x), m);
                sum = S.Fma(d, d, sum);
            }
            return sum;
        }
    }

    private readonly struct ScaleJob(NhwcGroupNorm n, float* x, nint ldx, float* scale, float* shift, float* y, nint ldy)
        : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                var (image, first, count) = n.Item(i);
                nint own = (nint)image * n.channels;
                NhwcPass.AffineHere(count, n.channels, x + first * ldx, (int)ldx, scale + own, shift + own, n.activation,
                    y + first * ldy, (int)ldy);
            }
        }
    }
}
