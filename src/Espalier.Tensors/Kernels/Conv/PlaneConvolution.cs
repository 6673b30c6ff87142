using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Convolution of NCHW images with stride 1 whose results are as large as the images: planes are copied with their borders once,
/// and each tap reads them shifted. Results are computed at the borders' columns too and thrown away there. Nothing is gathered
/// per tap, which is what small channel counts spend their time on in <see cref="Convolution"/>.
/// </summary>
internal readonly unsafe struct PlaneConvolution
{
    // Floats that are read behind a plane's end: numbers, because the gradient multiplies them with zeros.
    private const int Slack = 32;
    private const int TileRows = 4, TileColumns = 3;

    // What the gradient of four outputs reads over and over, in floats: it should stay in the first-level cache, nearly.
    private const int GradientBlock = 12 * 1024;

    // And the planes of all the images that it is summed over at a time: in the second-level cache.
    private const int ImageBlock = 96 * 1024;

    private readonly Window window;
    private readonly int batch, channels, outputs;

    public PlaneConvolution(int batch, int channels, int outputs, in Window window) =>
        (this.batch, this.channels, this.outputs, this.window) = (batch, channels, outputs, window);

    /// <summary>Whether this is the faster way, measured: from a few images on, which threads then share.</summary>
    public static bool Fits(int batch, int groups, in Window window) => batch >= 4 && groups == 1 && window.Stride == 1
        && window.Taps > 1 && window.OutHeight == window.Height && window.OutWidth == window.Width;

    /// <summary>
    /// Whether the gradient of the weights is faster this way too: planes must be worth the sums across lanes, and a matrix
    /// product wins where there are many channels.
    /// </summary>
    public bool SumsWeights => window.Width >= 12 && channels <= 64;

    private static int Vector => Hardware.Has512 ? 16 : Hardware.Has256 ? 8 : 4;

    /// <summary>Outputs that one tile makes.</summary>
    private static int FullTile => Hardware.Has512 || Hardware.HasArm64 ? 8 : 4;

    private int Depth => channels * window.Taps;

    private int Pitch => window.Width + window.Padding.Left + window.Padding.Right;

    /// <summary>Floats of a plane with its border, to the next.</summary>
    private int Plane => (((window.Height + window.Padding.Top + window.Padding.Bottom) * Pitch) + Slack + 15) & ~15;

    /// <summary>Floats of a plane of results with the borders' columns, in whole tiles.</summary>
    private int Row => (window.Height * Pitch + 2 * Vector - 1) / (2 * Vector) * (2 * Vector);

    /// <summary>y = conv(x, w) + bias; bias may be null.</summary>
    public void Forward(int imagesPerThread, float* x, float* weight, float* bias, float* y) =>
        Workers.For(batch, imagesPerThread, new ForwardJob(this, x, weight, bias, y));

    /// <summary>As in <see cref="Convolution.Backward"/>.</summary>
    public void Backward(int imagesPerThread, float* x, float* weight, float* dy, float* dx, float* partialDw) =>
        Workers.For(batch, imagesPerThread, new BackwardJob(this, x, weight, dy, dx, partialDw));

    private readonly struct ForwardJob(PlaneConvolution c, float* x, float* weight, float* bias, float* y) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            var planes = new Correlation(c, c.channels, c.outputs);
            float* block = Scratch.Rent(planes.Weights + planes.Depth + planes.Results + (nint)c.channels * c.Plane);
            float* w = block, results = w + planes.Weights, padded = results + planes.Results;
            int* offsets = (int*)(padded + (nint)c.channels * c.Plane);
            planes.Pack(weight, w, flipped: false);
            planes.Offsets(offsets);
            new Span<float>(padded, c.channels * c.Plane).Clear();
            for (int b = start; b < end; b++)
            {
                c.Pad(x + (nint)b * c.channels * c.window.Area, c.channels, c.window.Padding.Top, c.window.Padding.Left, padded);
                planes.Run(padded, w, offsets, results, bias, y + (nint)b * c.outputs * c.window.Area, add: false);
            }
        }
    }

    private readonly struct BackwardJob(
        PlaneConvolution c, float* x, float* weight, float* dy, float* dx, float* partialDw) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            // dy's border is the other way round: what was above is below.
            int top = c.window.Padding.Bottom, left = c.window.Padding.Right;
            var planes = new Correlation(c, c.outputs, c.channels);
            int fit = Math.Min(GradientBlock / ((TileRows + 1) * c.Plane), ImageBlock / ((c.channels + c.outputs) * c.Plane));
            int atOnce = Math.Clamp(fit, 1, 16);
            nint xs = (nint)c.channels * c.Plane, dys = (nint)c.outputs * c.Plane;
            float* block = Scratch.Rent(planes.Weights + planes.Depth + planes.Results + c.Depth + atOnce * (xs + dys) + 16);
            float* w = block, results = w + planes.Weights, padded = results + planes.Results, gradients = padded + atOnce * xs;
            // The first inside of dy on a cache line: its vectors then are too.
            gradients += (16 - (int)((nint)(gradients + top * c.Pitch + left) / sizeof(float) % 16)) % 16;
            int* offsets = (int*)(gradients + atOnce * dys), taps = offsets + planes.Depth;
            planes.Pack(weight, w, flipped: true);
            planes.Offsets(offsets);
            new Correlation(c, c.channels, c.outputs).Offsets(taps);
            new Span<float>(padded, checked((int)(atOnce * (xs + dys)))).Clear();
            float* dw = partialDw == null ? null : partialDw + (nint)worker * c.outputs * c.Depth;
            for (int first = start; first < end; first += atOnce)
            {
                int images = Math.Min(atOnce, end - first);
                for (int i = 0; i < images; i++)
                {
                    nint b = first + i, image = b * c.channels * c.window.Area;
                    c.Pad(dy + b * c.outputs * c.window.Area, c.outputs, top, left, gradients + i * dys);
                    if (dw != null)
                        c.Pad(x + image, c.channels, c.window.Padding.Top, c.window.Padding.Left, padded + i * xs);
                    if (dx != null)
                        planes.Run(gradients + i * dys, w, offsets, results, null, dx + image, add: true);
                }
                if (dw != null) c.WeightGradient(images, gradients + top * c.Pitch + left, padded, taps, dw);
            }
        }
    }

    /// <summary>dw [O, depth] += over some images and all pixels, dy times x at each tap.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void WeightGradient(int images, float* dy, float* x, int* taps, float* dw)
    {
        int length = (window.Height * Pitch + Vector - 1) / Vector * Vector;
        float* sums = stackalloc float[TileRows * TileColumns];
        int* rows = stackalloc int[TileRows], columns = stackalloc int[TileColumns];
        for (int o = 0; o < outputs; o += TileRows)
        {
            for (int r = 0; r < TileRows; r++) rows[r] = Math.Min(o + r, outputs - 1) * Plane;
            for (int k = 0; k < Depth; k += TileColumns)
            {
                for (int t = 0; t < TileColumns; t++) columns[t] = taps[Math.Min(k + t, Depth - 1)];
                new Span<float>(sums, TileRows * TileColumns).Clear();
                nint nextDy = (nint)outputs * Plane, nextX = (nint)channels * Plane;
                if (Hardware.Has512)
                    PlaneTile.Gradient<Simd512, Vector512<float>>(images, length, dy, nextDy, rows, x, nextX, columns, sums);
                else if (Hardware.Has256)
                    PlaneTile.Gradient<Simd256, Vector256<float>>(images, length, dy, nextDy, rows, x, nextX, columns, sums);
                else
                    PlaneTile.Gradient<Simd128, Vector128<float>>(images, length, dy, nextDy, rows, x, nextX, columns, sums);
                for (int r = 0; r < TileRows && o + r < outputs; r++)
                    for (int t = 0; t < TileColumns && k + t < Depth; t++)
                        dw[(nint)(o + r) * Depth + k + t] += sums[r * TileColumns + t];
            }
        }
    }

    /// <summary>Copies an image's planes to where their insides are; borders and slack stay as they are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Pad(float* image, int planes, int top, int left, float* padded)
    {
        int width = window.Width;
        for (int p = 0; p < planes; p++)
        {
            float* to = padded + (nint)p * Plane + top * Pitch + left;
            for (int row = 0; row < window.Height; row++, image += width, to += Pitch)
                new ReadOnlySpan<float>(image, width).CopyTo(new Span<float>(to, width));
        }
    }

    /// <summary>The sums over taps of planes: the forward pass, or, with turned weights, the gradient of the input.</summary>
    private readonly struct Correlation(PlaneConvolution c, int inputs, int results)
    {
        private int Tiles => (results + FullTile - 1) / FullTile;

        public int Depth => inputs * c.window.Taps;

        /// <summary>Floats of the packed weights.</summary>
        public nint Weights => (nint)Tiles * FullTile * Depth;

        /// <summary>Floats of the results of a tile.</summary>
        public nint Results => (nint)FullTile * c.Row;

        /// <summary>Where a tap of a channel lies, from the first result's place.</summary>
        public void Offsets(int* offsets)
        {
            Window w = c.window;
            for (int i = 0; i < inputs; i++)
                for (int ky = 0; ky < w.KernelHeight; ky++)
                    for (int kx = 0; kx < w.KernelWidth; kx++)
                        *offsets++ = i * c.Plane + ky * w.Dilation * c.Pitch + kx * w.Dilation;
        }

        /// <summary>weight [O, C, taps] into tiles of [depth, outputs of the tile]; turned, [C, O, taps from the last].</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Pack(float* weight, float* packed, bool flipped)
        {
            int taps = c.window.Taps;
            for (int first = 0; first < results; first += FullTile)
            {
                int height = Height(first);
                for (int i = 0; i < inputs; i++)
                    for (int tap = 0; tap < taps; tap++)
                        for (int r = first; r < first + height; r++)
                        {
                            nint at = flipped ? ((nint)i * results + r) * taps + taps - 1 - tap
                                : ((nint)r * inputs + i) * taps + tap;
                            *packed++ = r < results ? weight[at] : 0;
                        }
            }
        }

        private int Height(int first) => results - first <= 4 ? 4 : FullTile;

        /// <summary>All results of one image; bias may be null.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(float* padded, float* w, int* offsets, float* tile, float* bias, float* y, bool add)
        {
            int step = 2 * Vector, columns = c.window.Height * c.Pitch, height;
            for (int first = 0; first < results; first += height, w += height * Depth)
            {
                height = Height(first);
                for (int column = 0; column < columns; column += step)
                {
                    float* x = padded + column, to = tile + column;
                    if (Hardware.Has512) PlaneTile.Run<Simd512, Vector512<float>>(height, Depth, w, offsets, x, to, c.Row);
                    else if (Hardware.Has256) PlaneTile.Run<Simd256, Vector256<float>>(height, Depth, w, offsets, x, to, c.Row);
                    else PlaneTile.Run<Simd128, Vector128<float>>(height, Depth, w, offsets, x, to, c.Row);
                }
                for (int r = 0; r < height && first + r < results; r++)
                {
                    float* plane = y + (nint)(first + r) * c.window.Area;
                    c.Unpad(tile + (nint)r * c.Row, bias == null ? 0 : bias[first + r], plane, add);
                }
            }
        }
    }

    /// <summary>A plane of results without the borders' columns: plane = results + bias, or plane += results.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Unpad(float* results, float bias, float* plane, bool add)
    {
        int width = window.Width;
        for (int row = 0; row < window.Height; row++, results += Pitch, plane += width)
        {
            int i = 0;
            if (Hardware.Has512)
                for (; i <= width - 16; i += 16) Unpad<Simd512, Vector512<float>>(results + i, bias, plane + i, add);
            if (Hardware.Has256)
                for (; i <= width - 8; i += 8) Unpad<Simd256, Vector256<float>>(results + i, bias, plane + i, add);
            for (; i <= width - 4; i += 4) Unpad<Simd128, Vector128<float>>(results + i, bias, plane + i, add);
            for (; i < width; i++) Unpad<Scalar, float>(results + i, bias, plane + i, add);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Unpad<S, V>(float* results, float bias, float* plane, bool add)
        where V : struct
        where S : struct, ISimd<V> =>
        S.Store(S.Add(S.Load(results), add ? S.Load(plane) : S.Set(bias)), plane);
}
