using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Passes over NHWC pixels of codes, and between those and floats.</summary>
internal static unsafe class CodePasses
{
    /// <summary>y = the codes of x: <paramref name="pixels"/> of so many channels, x's <paramref name="ldx"/> floats and y's
    /// <paramref name="ldy"/> bytes apart.</summary>
    public static void ToCodes(int pixels, int channels, float* x, int ldx, in CodeStep step, byte* y, int ldy) =>
        Run(pixels, channels, new ToCodesJob(channels, x, ldx, step, y, ldy));

    /// <summary>y = what the codes stand for.</summary>
    public static void ToFloats(int pixels, int channels, byte* x, int ldx, in CodeStep step, float* y, int ldy) =>
        Run(pixels, channels, new ToFloatsJob(channels, x, ldx, step, y, ldy));

    /// <summary>y = the numbers that are left of x where it is rounded to codes and back.</summary>
    public static void Rounded(int pixels, int channels, float* x, int ldx, in CodeStep step, float* y, int ldy) =>
        Run(pixels, channels, new RoundedJob(channels, x, ldx, step, y, ldy));

    /// <summary>The largest code of each window; padding never wins.</summary>
    public static void Max(int images, in Window window, int channels, byte* x, int ldx, byte* y, int ldy) =>
        Run(images * window.OutHeight, window.OutWidth * window.Taps * channels / 4, new MaxJob(window, channels, x, ldx, y,
            ldy));

    /// <summary>The mean of each channel over each image, as floats: y [images, channels].</summary>
    public static void Mean(int images, int area, int channels, byte* x, int ldx, in CodeStep step, float* y, int ldy) =>
        Run(images, channels * area / 4, new MeanJob(area, channels, x, ldx, step, y, null, ldy, default));

    /// <summary>The same rounded to codes, with one factor, as ONNX Runtime's QLinearGlobalAveragePool.</summary>
    public static void Mean(int images, int area, int channels, byte* x, int ldx, in CodeStep step, byte* y, int ldy,
        in CodeStep result) =>
        Run(images, channels * area / 4, new MeanJob(area, channels, x, ldx, step, null, y, ldy, result));

    private static void Run<TJob>(int count, int cost, in TJob job) where TJob : struct, IRangeJob =>
        Workers.For(count, Grain.For(cost), job);

    private readonly struct ToCodesJob(int channels, float* x, nint ldx, CodeStep step, byte* y, nint ldy) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            if (Hardware.Has512) Pixels<Simd512, Vector512<float>>(start, end);
            else if (Hardware.Has256) Pixels<Simd256, Vector256<float>>(start, end);
            else Pixels<Simd128, Vector128<float>>(start, end);
        }

        // Pixels of a few colours are rounded many at once, and then put apart.
        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Colours<S, V>(int start, int end) where S : ISimd<V> where V : struct
        {
            const int Pixels = 64;
            byte* codes = stackalloc byte[(Pixels * sizeof(int)) + sizeof(int)];
            for (nint p = start; p < end; p += Pixels)
            {
                int pixels = (int)Math.Min(Pixels, end - p), count = pixels * channels, i = 0;
                float* from = x + (p * channels);
                for (; i <= count - S.Width; i += S.Width) S.StoreBytes(Code<S, V>(S.Load(from + i)), codes + i);
                for (; i < count; i++) codes[i] = (byte)Code<Scalar, float>(from[i]);
                for (i = 0; i < pixels; i++) *(int*)(y + ((p + i) * ldy)) = *(int*)(codes + (i * channels));
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Pixels<S, V>(int start, int end) where S : ISimd<V> where V : struct
        {
            if (channels <= sizeof(int) && ldx == channels && ldy == sizeof(int))
            {
                Colours<S, V>(start, end);
                return;
            }

            for (nint p = start; p < end; p++)
            {
                float* from = x + (p * ldx);
                byte* to = y + (p * ldy);
                int c = 0;
                for (; c <= channels - S.Width; c += S.Width) S.StoreBytes(Code<S, V>(S.Load(from + c)), to + c);
                for (; c < channels; c++) to[c] = (byte)Code<Scalar, float>(from[c]);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private V Code<S, V>(V v) where S : ISimd<V> where V : struct => S.Add(CodesEpilogue.Rounded<S, V>(
            S.Div(v, S.Set(step.Scale)), S.Set(step.Least), S.Set(step.Most)), S.Set(step.Zero));
    }

    private readonly struct ToFloatsJob(int channels, byte* x, nint ldx, CodeStep step, float* y, nint ldy) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            if (Hardware.Has512) Pixels<Simd512, Vector512<float>>(start, end);
            else if (Hardware.Has256) Pixels<Simd256, Vector256<float>>(start, end);
            else Pixels<Simd128, Vector128<float>>(start, end);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Pixels<S, V>(int start, int end) where S : ISimd<V> where V : struct
        {
            V scale = S.Set(step.Scale), zero = S.Set(step.Zero);
            for (nint p = start; p < end; p++)
            {
                byte* from = x + (p * ldx);
                float* to = y + (p * ldy);
                int c = 0;
                for (; c <= channels - S.Width; c += S.Width) S.Store(S.Mul(S.Sub(S.LoadBytes(from + c), zero), scale), to + c);
                for (; c < channels; c++) to[c] = (from[c] - step.Zero) * step.Scale;
            }
        }
    }

    private readonly struct RoundedJob(int channels, float* x, nint ldx, CodeStep step, float* y, nint ldy) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            if (Hardware.Has512) Pixels<Simd512, Vector512<float>>(start, end);
            else if (Hardware.Has256) Pixels<Simd256, Vector256<float>>(start, end);
            else Pixels<Simd128, Vector128<float>>(start, end);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Pixels<S, V>(int start, int end) where S : ISimd<V> where V : struct
        {
            var range = new CodeRange(step.Scale, step.Least, step.Most);
            for (nint p = start; p < end; p++)
            {
                float* from = x + (p * ldx), to = y + (p * ldy);
                int c = 0;
                for (; c <= channels - S.Width; c += S.Width) S.Store(range.Run<S, V>(S.Load(from + c)), to + c);
                for (; c < channels; c++) to[c] = range.Run<Scalar, float>(from[c]);
            }
        }
    }

    private readonly struct MaxJob(Window window, int channels, byte* x, nint ldx, byte* y, nint ldy) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int line = start; line < end; line++) Line(line / window.OutHeight, line % window.OutHeight, line);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Line(int image, int row, int line)
        {
            int top = Math.Max(0, window.Row(row, 0)), bottom = Math.Min(window.Height, window.Row(row, window.KernelHeight));
            byte* to = y + ((nint)line * window.OutWidth * ldy);
            for (int column = 0; column < window.OutWidth; column++, to += ldy)
            {
                int left = Math.Max(0, window.Column(column, 0)), right = Math.Min(window.Width, window.Column(column,
                    window.KernelWidth));
                byte* from = x + ((((nint)image * window.Height) + top) * window.Width + left) * ldx;
                int c = 0;
                for (; c <= channels - 32; c += 32)
                {
                    Vector256<byte> most = Vector256<byte>.Zero;
                    for (int ky = top; ky < bottom; ky++)
                    {
                        byte* pixel = from + ((nint)(ky - top) * window.Width * ldx) + c;
                        for (int kx = left; kx < right; kx++, pixel += ldx) most = Vector256.Max(most, Vector256.Load(pixel));
                    }

                    most.Store(to + c);
                }

                for (; c < channels; c++)
                {
                    byte most = 0;
                    for (int ky = top; ky < bottom; ky++)
                        for (int kx = left; kx < right; kx++)
                            most = Math.Max(most, from[(((nint)(ky - top) * window.Width) + kx - left) * ldx + c]);
                    to[c] = most;
                }
            }
        }
    }

    private readonly struct MeanJob(
        int area, int channels, byte* x, nint ldx, CodeStep step, float* floats, byte* codes, nint ldy, CodeStep result) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            if (Hardware.Has512) Images<Simd512, Vector512<float>>(start, end);
            else if (Hardware.Has256) Images<Simd256, Vector256<float>>(start, end);
            else Images<Simd128, Vector128<float>>(start, end);
        }

        private void Images<S, V>(int start, int end) where S : ISimd<V> where V : struct
        {
            for (nint image = start; image < end; image++)
            {
                int whole = channels / S.Width * S.Width;
                Channels<S, V>(x + (image * area * ldx), image * ldy, 0, whole);
                Channels<Scalar, float>(x + (image * area * ldx), image * ldy, whole, channels);
            }
        }

        // Floats hold sums of codes up to 2^24; a map has fewer pixels than 2^16.
        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Channels<S, V>(byte* from, nint to, int first, int end) where S : ISimd<V> where V : struct
        {
            V zero = S.Set((float)area * step.Zero);
            V factor = S.Set(codes == null ? step.Scale / area : step.Scale / (result.Scale * area));
            var rounding = new CodeRounding<S, V>(result.Least, result.Most, result.Zero);
            for (int c = first; c < end; c += S.Width)
            {
                V sum = S.Zero;
                byte* pixel = from + c;
                for (int p = 0; p < area; p++, pixel += ldx) sum = S.Add(sum, S.LoadBytes(pixel));
                V mean = S.Mul(S.Sub(sum, zero), factor);
                if (codes == null) S.Store(mean, floats + to + c);
                else rounding.Store(mean, codes + to + c);
            }
        }
    }
}
