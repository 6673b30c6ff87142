using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Convolution to maps of so few pixels that the columns of one image would make a poor matrix product: several images share
/// each product.
/// </summary>
internal readonly unsafe struct SmallMapConvolution
{
    private const int LargestMap = 36;

    // Columns of a product: enough to pay for packing the weight.
    private const int Columns = 384;

    private readonly Window window;
    private readonly int batch, channels, outputs;

    public SmallMapConvolution(int batch, int channels, int outputs, in Window window) =>
        (this.batch, this.channels, this.outputs, this.window) = (batch, channels, outputs, window);

    public static bool Fits(int batch, int groups, in Window window) => batch >= 4 && groups == 1 && window.OutArea <= LargestMap;

    private int Area => window.OutArea;

    private int Depth => channels * window.Taps;

    private int ImagesAtOnce => Math.Min(batch, Columns / Math.Max(1, Area));

    /// <summary>Floats of scratch that a thread needs.</summary>
    public long ScratchLength => (long)ImagesAtOnce * Area * (Depth + outputs);

    /// <summary>As in <see cref="Convolution.Forward"/>.</summary>
    public void Forward(int imagesPerThread, float* x, float* weight, float* bias, float* y, float* scratch) =>
        Workers.For(batch, imagesPerThread, new ForwardJob(this, x, weight, bias, y, scratch));

    /// <summary>As in <see cref="Convolution.Backward"/>.</summary>
    public void Backward(int imagesPerThread, float* x, float* weight, float* dy, float* dx, float* partialDw, float* scratch) =>
        Workers.For(batch, imagesPerThread, new BackwardJob(this, x, weight, dy, dx, partialDw, scratch));

    private readonly struct ForwardJob(
        SmallMapConvolution c, float* x, float* weight, float* bias, float* y, float* scratch) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            float* columns = scratch + worker * c.ScratchLength, results = columns + (nint)c.Depth * c.ImagesAtOnce * c.Area;
            for (int first = start; first < end; first += c.ImagesAtOnce)
            {
                int images = Math.Min(c.ImagesAtOnce, end - first), n = images * c.Area;
                c.Gather(x, first, images, columns);
                Gemm.Run(false, false, c.outputs, n, c.Depth, weight, c.Depth, columns, n, results, n, default);
                for (int i = 0; i < images; i++)
                    for (int o = 0; o < c.outputs; o++)
                    {
                        float* from = results + (nint)o * n + i * c.Area, to = y + ((nint)(first + i) * c.outputs + o) * c.Area;
                        float shift = bias == null ? 0 : bias[o];
                        for (int p = 0; p < c.Area; p++) to[p] = from[p] + shift;
                    }
            }
        }
    }

    private readonly struct BackwardJob(
        SmallMapConvolution c, float* x, float* weight, float* dy, float* dx, float* partialDw, float* scratch) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            float* columns = scratch + worker * c.ScratchLength, gradients = columns + (nint)c.Depth * c.ImagesAtOnce * c.Area;
            float* dw = partialDw == null ? null : partialDw + (nint)worker * c.outputs * c.Depth;
            var add = new Epilogue { Accumulate = true };
            for (int first = start; first < end; first += c.ImagesAtOnce)
            {
                int images = Math.Min(c.ImagesAtOnce, end - first), n = images * c.Area;
                for (int i = 0; i < images; i++)
                    for (int o = 0; o < c.outputs; o++)
                        new ReadOnlySpan<float>(dy + ((nint)(first + i) * c.outputs + o) * c.Area, c.Area)
                            .CopyTo(new Span<float>(gradients + (nint)o * n + i * c.Area, c.Area));
                if (dw != null)
                {
                    c.Gather(x, first, images, columns);
                    Gemm.Run(false, true, c.outputs, c.Depth, n, gradients, n, columns, n, dw, c.Depth, add);
                }
                if (dx == null) continue;
                Gemm.Run(true, false, c.Depth, n, c.outputs, weight, c.Depth, gradients, n, columns, n, default);
                for (int i = 0; i < images; i++)
                    Im2Col.ScatterAdd(columns + i * c.Area, n, c.channels, c.window, 0, c.window.OutHeight,
                        dx + (nint)(first + i) * c.channels * c.window.Area);
            }
        }
    }

    /// <summary>The columns of some images side by side: [depth, images · area].</summary>
    private void Gather(float* x, int first, int images, float* columns)
    {
        for (int i = 0; i < images; i++)
            Im2Col.Gather(x + (nint)(first + i) * channels * window.Area, channels, window, 0, window.OutHeight,
                columns + i * Area, images * Area);
    }
}
