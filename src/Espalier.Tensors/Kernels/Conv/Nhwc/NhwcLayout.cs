using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Between planes (NCHW) and pixels (NHWC).</summary>
internal static unsafe class NhwcLayout
{
    /// <summary>Pixels a piece of work turns.</summary>
    private const int Stretch = 256;

    /// <summary>x [images, channels, area] -> y [images, area] pixels, <paramref name="ldy"/> floats apart.</summary>
    public static void FromNchw(int images, int channels, int area, float* x, float* y, int ldy) =>
        Run(images, channels, area, new Job(channels, area, x, y, ldy, toPixels: true));

    /// <summary>x [images, area] pixels, <paramref name="ldx"/> floats apart -> y [images, channels, area].</summary>
    public static void ToNchw(int images, int channels, int area, float* x, int ldx, float* y) =>
        Run(images, channels, area, new Job(channels, area, y, x, ldx, toPixels: false));

    private static void Run(int images, int channels, int area, in Job job) =>
        Workers.For(images * Stretches(area), Grain.For((long)channels * Math.Min(area, Stretch)), job);

    private static int Stretches(int area) => (area + Stretch - 1) / Stretch;

    private readonly struct Job(int channels, int area, float* planes, float* pixels, nint ld, bool toPixels) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            int stretches = Stretches(area);
            for (int i = start; i < end; i++)
            {
                int image = i / stretches, first = i % stretches * Stretch, count = Math.Min(Stretch, area - first);
                float* plane = planes + ((nint)image * channels * area) + first;
                float* pixel = pixels + (((nint)image * area) + first) * ld;
                if (toPixels) Transposition.Run(plane, area, pixel, ld, channels, count, accumulate: false);
                else Transposition.Run(pixel, ld, plane, area, count, channels, accumulate: false);
            }
        }
    }
}
