using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>From planes of floats, as a caller's images are, to pixels of codes of 4 bytes, in one pass: three codes are a whole number
/// below 2^24, which a float holds.</summary>
internal static unsafe class PlanesToCodes
{
    /// <summary>Most colours of a picture that this does.</summary>
    public const int MostChannels = 3;

    private const int Block = 1024;

    /// <param name="x">[images, channels, pixels].</param>
    /// <param name="y">[images, pixels, 4]; what is not a channel is 0.</param>
    public static void Run(int images, int channels, int pixels, float* x, in CodeStep step, byte* y)
    {
        int blocks = (pixels + Block - 1) / Block;
        Workers.For(images * blocks, Grain.For(Block * channels), new Job(channels, pixels, blocks, x, step, (int*)y));
    }

    private readonly struct Job(int channels, int pixels, int blocks, float* x, CodeStep step, int* y) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                int first = i % blocks * Block, count = Math.Min(Block, pixels - first);
                nint image = i / blocks;
                float* from = x + (image * channels * pixels) + first;
                int* to = y + (image * pixels) + first;
                if (Hardware.Has512) Pixels<Simd512, Vector512<float>>(from, to, count);
                else if (Hardware.Has256) Pixels<Simd256, Vector256<float>>(from, to, count);
                else Pixels<Simd128, Vector128<float>>(from, to, count);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Pixels<S, V>(float* from, int* to, int count) where S : ISimd<V> where V : struct
        {
            int p = 0;
            for (; p <= count - S.Width; p += S.Width) S.StoreInts(Pixel<S, V>(from + p), to + p);
            for (; p < count; p++) Scalar.StoreInts(Pixel<Scalar, float>(from + p), to + p);
        }

        // The last channel in the highest byte.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private V Pixel<S, V>(float* from) where S : ISimd<V> where V : struct
        {
            V all = S.Zero, byteMore = S.Set(256);
            for (int c = channels - 1; c >= 0; c--)
            {
                V steps = S.Div(S.Load(from + ((nint)c * pixels)), S.Set(step.Scale));
                V code = S.Add(CodesEpilogue.Rounded<S, V>(steps, S.Set(step.Least), S.Set(step.Most)), S.Set(step.Zero));
                all = S.Add(S.Mul(all, byteMore), code);
            }

            return all;
        }
    }
}
