using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Pooling of NHWC images; vectors hold channels.</summary>
internal static unsafe class NhwcPooling
{
    /// <summary>The largest value of each window, NaN where there is one in it; padding never wins.</summary>
    /// <param name="x">[images, height, width] pixels of <paramref name="channels"/> floats, <paramref name="ldx"/> apart.
    /// </param>
    /// <param name="y">[images, out height, out width] pixels, <paramref name="ldy"/> apart.</param>
    public static void Max(int images, in Window window, int channels, float* x, int ldx, float* y, int ldy) =>
        Run(images, window, channels, x, ldx, y, ldy, max: true, countPadding: false);

    /// <summary>The mean of each window, the padding counted as zeros or left out of the count.</summary>
    /// <inheritdoc cref="Max"/>
    public static void Average(
        int images, in Window window, int channels, float* x, int ldx, float* y, int ldy, bool countPadding) =>
        Run(images, window, channels, x, ldx, y, ldy, max: false, countPadding);

    /// <summary>The mean of each channel over each image: y [images, channels] with row distance <paramref name="ldy"/>.
    /// </summary>
    public static void GlobalMean(int images, int area, int channels, float* x, int ldx, float* y, int ldy) =>
        Average(images, new Window(1, area, 1, area, 1, 1, default), channels, x, ldx, y, ldy, countPadding: true);

    private static void Run(
        int images, in Window window, int channels, float* x, int ldx, float* y, int ldy, bool max, bool countPadding)
    {
        // Whole lines of results, or, where there are few, stretches of channels.
        int lines = images * window.OutHeight, grain = Grain.For((long)window.OutWidth * window.Taps * channels);
        int cuts = lines >= Workers.Available ? 1 : Math.Clamp(channels / 64, 1, Workers.Available);
        var job = new Job(window, channels, cuts, x, ldx, y, ldy, max, countPadding);
        Workers.For(lines * cuts, cuts == 1 ? grain : Grain.For((long)window.OutWidth * window.Taps * channels / cuts), job);
    }

    private readonly struct Job(
        Window window, int channels, int cuts, float* x, nint ldx, float* y, nint ldy, bool max, bool countPadding) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++) Line(i / cuts, i % cuts);
        }

        private void Line(int line, int cut)
        {
            int image = line / window.OutHeight, row = line % window.OutHeight;
            int top = Math.Max(0, window.Row(row, 0));
            int bottom = Math.Min(window.Height, window.Row(row, window.KernelHeight));
            int first = channels / 16 * cut / cuts * 16, end = cut == cuts - 1 ? channels : channels / 16 * (cut + 1) / cuts * 16;
            float* to = y + ((nint)line * window.OutWidth * ldy) + first;
            for (int column = 0; column < window.OutWidth; column++, to += ldy)
            {
                int left = Math.Max(0, window.Column(column, 0));
                int right = Math.Min(window.Width, window.Column(column, window.KernelWidth));
                int inside = (bottom - top) * (right - left);
                float* from = x + ((((nint)image * window.Height) + top) * window.Width + left) * ldx + first;
                float factor = max ? 1 : 1f / (countPadding ? window.Taps : inside);
                Pixel(from, bottom - top, right - left, to, end - first, factor);
            }
        }

        private void Pixel(float* from, int rows, int columns, float* to, int count, float factor)
        {
            nint line = window.Width * ldx;
            if (Hardware.Has512) Pixel<Simd512, Vector512<float>>(from, line, ldx, rows, columns, to, count, max, factor);
            else if (Hardware.Has256) Pixel<Simd256, Vector256<float>>(from, line, ldx, rows, columns, to, count, max, factor);
            else Pixel<Simd128, Vector128<float>>(from, line, ldx, rows, columns, to, count, max, factor);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private static void Pixel<S, V>(
            float* from, nint line, nint ldx, int rows, int columns, float* to, int count, bool max, float factor)
            where S : ISimd<V> where V : struct
        {
            int c = 0;
            for (; c <= count - S.Width; c += S.Width)
                S.Store(Value<S, V>(from + c, line, ldx, rows, columns, max, factor), to + c);
            for (; c < count; c++) to[c] = Value<Scalar, float>(from + c, line, ldx, rows, columns, max, factor);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static V Value<S, V>(float* from, nint line, nint ldx, int rows, int columns, bool max, float factor)
            where S : ISimd<V> where V : struct
        {
            V value = max ? S.Set(float.NegativeInfinity) : S.Zero;
            for (int row = 0; row < rows; row++, from += line)
            {
                float* x = from;
                for (int column = 0; column < columns; column++, x += ldx)
                    value = max ? S.MaxOrNaN(value, S.Load(x)) : S.Add(value, S.Load(x));
            }

            return S.Mul(value, S.Set(factor));
        }
    }
}
