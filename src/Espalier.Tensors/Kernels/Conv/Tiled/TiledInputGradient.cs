using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// The gradient of a convolution's input for any stride: tap by tap, tiles multiply lines of dy with the tap's weights and add to
/// those pixels of dx that the tap has seen, which lie evenly in a line, the stride apart.
/// </summary>
internal readonly unsafe struct TiledInputGradient(int batch, int channels, int outputs, in Window window, ConvTile tile)
{
    private readonly Window window = window;
    private readonly int batch = batch, channels = channels, outputs = outputs;
    private readonly ConvTile tile = tile;

    /// <summary>dx = the gradient, or dx += it.</summary>
    /// <param name="weight">[O, C, kh, kw]</param>
    public void Run(float* weight, float* dy, float* dx, bool accumulate)
    {
        int taps = window.Taps;
        var shape = new ConvShape(window.KernelHeight, window.KernelWidth, 1, default);
        using var packed = new DirectConv(outputs, channels, groups: 1, weight, bias: null, shape, tile,
            new WeightOrder(taps, (nint)channels * taps), pooled: true);
        var images = new ImageBlock(batch, outputs * window.OutArea, channels * window.Area, window.OutArea);
        using var pixels = new NativeFloats(images.Parts * images.Floats, cleared: false, pooled: true);
        Workers.For(batch, 1, new Job(this, packed, images, dy, dx, pixels.Data, accumulate));
    }

    private readonly struct Job(
        TiledInputGradient g, DirectConv packed, ImageBlock images, float* dy, float* dx, float* pixels, bool accumulate)
        : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            int area = g.window.Area, outArea = g.window.OutArea;
            nint size = (nint)g.channels * area, outSize = (nint)g.outputs * outArea;
            float* from = pixels + (worker * images.Floats), to = from + images.First;
            for (int first = start; first < end; first += images.Count)
            {
                int count = Math.Min(images.Count, end - first);
                for (int i = 0; i < count; i++)
                {
                    float* planes = dy + ((first + i) * outSize);
                    Transposition.Run(planes, outArea, from + (i * outSize), g.outputs, g.outputs, outArea, accumulate: false);
                }

                new Span<float>(to, checked((int)(count * size))).Clear();
                for (int panel = 0; panel < packed.Panels; panel++) Panel(panel, count, from, to);
                for (int i = 0; i < count; i++)
                    Transposition.Run(to + (i * size), g.channels, dx + ((first + i) * size), area, area, g.channels, accumulate);
            }
        }

        private void Panel(int panel, int count, float* from, float* to)
        {
            Window w = g.window;
            nint none = 0;
            var arguments = new ConvTile.Arguments
            {
                Stretches = 1,
                Steps = g.outputs,
                Offsets = &none,
                RowX = (nint)g.outputs * sizeof(float),
                RowY = (nint)w.Stride.Columns * g.channels * sizeof(float),
                Modes = (long)ConvTile.Modes.Continue,
                Mask = (1L << packed.OutputsOf(panel)) - 1,
            };
            int vectors = packed.Vectors(panel), output = packed.FirstOutput(panel);
            nint step = (nint)g.outputs * vectors * ConvTile.Lanes;
            for (int tap = 0; tap < w.Taps; tap++)
            {
                int ky = tap / w.KernelWidth, kx = tap % w.KernelWidth;
                (int top, int bottom) = w.Rows(ky);
                (int left, int right) = w.Columns(kx);
                arguments.Weights = packed.WeightsOf(panel) + (tap * step);
                arguments.Ahead = arguments.Weights;
                if (right == left) continue;
                for (int i = 0; i < count; i++)
                {
                    for (int y = top; y < bottom; y++)
                    {
                        arguments.X = from + ((((nint)i * w.OutArea) + (y * w.OutWidth) + left) * g.outputs);
                        nint pixel = ((nint)i * w.Area) + (w.Row(y, ky) * w.Width) + w.Column(left, kx);
                        arguments.Y = to + (pixel * g.channels) + output;
                        Line(right - left, vectors, arguments);
                    }
                }
            }
        }

        private void Line(int columns, int vectors, ConvTile.Arguments arguments)
        {
            int tiles = (columns + ConvTile.MaxPixels - 1) / ConvTile.MaxPixels;
            float* x = arguments.X, y = arguments.Y;
            nint rowX = arguments.RowX / sizeof(float), rowY = arguments.RowY / sizeof(float);
            for (int t = 0; t < tiles; t++)
            {
                int first = columns * t / tiles, pixels = (columns * (t + 1) / tiles) - first, half = (pixels + 1) / 2;
                arguments.X = x + (first * rowX);
                arguments.X2 = arguments.X + (half * rowX);
                arguments.Y = y + (first * rowY);
                arguments.Y2 = arguments.Y + (half * rowY);
                g.tile.Run(pixels, vectors, &arguments);
            }
        }
    }
}
