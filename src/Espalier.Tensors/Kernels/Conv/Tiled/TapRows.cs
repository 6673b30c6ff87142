using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Espalier.Tensors.Kernels;

/// <summary>What one tap of a kernel sees of a few images: for each pixel of the result a row of 16 or 32 channels, zeros outside
/// the image.</summary>
/// <param name="pixels">[images, height, width, channels]</param>
/// <param name="width">Channels, 16 or 32.</param>
/// <param name="data">Where the rows go: <see cref="Floats"/>.</param>
internal readonly unsafe struct TapRows(in Window window, float* pixels, int images, int width, float* data)
{
    /// <summary>Rows that are gathered at a time, unless a line has more: they stay in the first-level cache.</summary>
    public const int Most = 256;

    private readonly Window window = window;
    private readonly float* pixels = pixels;

    public int Images { get; } = images;

    public int Width { get; } = width;

    public float* Data { get; } = data;

    /// <summary>Lines of results that are gathered at a time.</summary>
    public int Lines => LinesOf(window);

    /// <summary>Floats of all rows of so many images.</summary>
    public static nint Floats(in Window window, int images) =>
        (nint)images * LinesOf(window) * window.OutWidth * ConvTile.Columns;

    /// <summary>Writes the rows of lines <paramref name="line"/> to <paramref name="last"/> - 1 of the results,
    /// <paramref name="ld"/> floats apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Gather(int tap, int line, int last, float* to, int ld)
    {
        int kx = tap % window.KernelWidth, ky = tap / window.KernelWidth, step = window.Stride.Columns * Width;
        (int left, int right) = window.Columns(kx);
        float* image = pixels;
        for (int i = 0; i < Images; i++, image += (nint)window.Area * Width)
        {
            for (int y = line; y < last; y++)
            {
                int row = window.Row(y, ky), count = (uint)row < (uint)window.Height ? right - left : 0;
                int before = count == 0 ? 0 : left;
                float* from = image + ((((nint)row * window.Width) + window.Column(left, kx)) * Width);
                to = Zeros(before, to, ld);
                if (Width == ConvTile.Lanes)
                {
                    for (; count > 0; count--, from += step, to += ld, before++) Vector512.Load(from).Store(to);
                }
                else
                {
                    for (; count > 0; count--, from += step, to += ld, before++)
                    {
                        Vector512.Load(from).Store(to);
                        Vector512.Load(from + ConvTile.Lanes).Store(to + ConvTile.Lanes);
                    }
                }

                to = Zeros(window.OutWidth - before, to, ld);
            }
        }
    }

    private static int LinesOf(in Window window) => Math.Clamp(Most / window.OutWidth, 1, window.OutHeight);

    private float* Zeros(int rows, float* to, int ld)
    {
        for (; rows > 0; rows--, to += ld) new Span<float>(to, Width).Clear();
        return to;
    }
}
