using System.Numerics.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Writes what each tap of a kernel sees as a row of a matrix, so that convolution becomes a matrix product:
/// image [C, H, W] -> columns [C·kh·kw, rows·OW] for a strip of output rows; and the way back, which adds.
/// </summary>
internal static unsafe class Im2Col
{
    /// <summary>Fills columns for output rows first to end - 1, zeros for the padding.</summary>
    /// <param name="ld">Floats from a row of the columns to the next, at least rows·OW.</param>
    public static void Gather(float* image, int channels, in Window window, int first, int end, float* columns, int ld) =>
        Workers.For(channels, PerThread(window, first, end), new GatherJob(image, window, first, end, columns, ld));

    /// <summary>Adds the columns of output rows first to end - 1 to the image.</summary>
    public static void ScatterAdd(float* columns, int ld, int channels, in Window window, int first, int end, float* image) =>
        Workers.For(channels, PerThread(window, first, end), new ScatterJob(columns, ld, window, first, end, image));

    private static int PerThread(in Window window, int first, int end) =>
        Grain.For((long)window.Taps * (end - first) * window.OutWidth);

    private readonly struct GatherJob(float* image, Window window, int first, int end, float* columns, int ld) : IRangeJob
    {
        public void Run(int start, int stop, int worker)
        {
            int width = window.OutWidth;
            for (int c = start; c < stop; c++)
            {
                float* plane = image + (long)c * window.Area, row = columns + (long)c * window.Taps * ld;
                for (int ky = 0; ky < window.KernelHeight; ky++)
                    for (int kx = 0; kx < window.KernelWidth; kx++, row += ld)
                        Tap(plane, ky, kx, row, width);
            }
        }

        private void Tap(float* plane, int ky, int kx, float* to, int width)
        {
            var (left, right) = window.Columns(kx);
            for (int y = first; y < end; y++, to += width)
            {
                int row = window.Row(y, ky);
                if ((uint)row >= (uint)window.Height)
                {
                    new Span<float>(to, width).Clear();
                    continue;
                }
                float* from = plane + (long)row * window.Width + window.Column(left, kx);
                int n = right - left;
                for (int x = 0; x < left; x++) to[x] = 0;
                if (window.Stride.Columns == 1) new ReadOnlySpan<float>(from, n).CopyTo(new Span<float>(to + left, n));
                else for (int x = left; x < right; x++, from += window.Stride.Columns) to[x] = *from;
                for (int x = right; x < width; x++) to[x] = 0;
            }
        }
    }

    private readonly struct ScatterJob(float* columns, int ld, Window window, int first, int end, float* image) : IRangeJob
    {
        public void Run(int start, int stop, int worker)
        {
            for (int c = start; c < stop; c++)
            {
                float* plane = image + (long)c * window.Area, row = columns + (long)c * window.Taps * ld;
                for (int ky = 0; ky < window.KernelHeight; ky++)
                    for (int kx = 0; kx < window.KernelWidth; kx++, row += ld)
                        Tap(row, ky, kx, plane);
            }
        }

        private void Tap(float* from, int ky, int kx, float* plane)
        {
            var (left, right) = window.Columns(kx);
            var (top, bottom) = window.Rows(ky);
            for (int y = Math.Max(top, first); y < Math.Min(bottom, end); y++)
            {
                float* source = from + (y - first) * window.OutWidth;
                float* to = plane + (long)window.Row(y, ky) * window.Width + window.Column(left, kx);
                if (window.Stride.Columns == 1)
                {
                    var sum = new Span<float>(to, right - left);
                    TensorPrimitives.Add(sum, new ReadOnlySpan<float>(source + left, right - left), sum);
                }
                else
                {
                    for (int x = left; x < right; x++, to += window.Stride.Columns) *to += source[x];
                }
            }
        }
    }
}
