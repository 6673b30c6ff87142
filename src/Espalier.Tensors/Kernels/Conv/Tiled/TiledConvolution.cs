using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Convolution of NCHW images in training, by the assembled tiles that inference has: a thread turns a few of its images into
/// pixels (NHWC), convolves these, and turns the result back, all in its second-level cache. Weights are packed at each call,
/// since they change from step to step. One group; elsewhere <see cref="Convolution"/> does the work.
/// </summary>
internal readonly unsafe struct TiledConvolution
{
    private const int FewestChannels = 8;

    // Below, the transforms save little; and their rounding is some ten times that of plain sums, about 1e-5 of a result's spread.
    private const int WinogradChannels = 32;

    // Weights are transformed anew at each call, four times as many floats to write and to read: fewer pixels do not pay for it.
    private const int WinogradPixels = 512;

    private readonly Window window;
    private readonly int batch, channels, outputs;
    private readonly ConvTile tile;

    public TiledConvolution(int batch, int channels, int outputs, in Window window)
    {
        (this.batch, this.channels, this.outputs, this.window) = (batch, channels, outputs, window);
        tile = ConvTile.Instance!;
    }

    /// <summary>
    /// Whether this is the faster way, measured: the processor has the tiles, each thread has images of its own, and there are
    /// taps; without, <see cref="Convolution"/> multiplies the planes where they lie.
    /// </summary>
    public static bool Fits(int batch, int groups, in Window window) => groups == 1 && window.Taps > 1
        && KernelInfo.Tiles == TileSet.Avx512 && ConvTile.Instance is not null
        && (batch % Workers.Threads == 0 || batch >= 2 * Workers.Threads);

    /// <summary>Whether <see cref="WeightGradient"/> is: its vectors hold channels.</summary>
    public bool SumsWeights => channels >= FewestChannels;

    private ConvShape Shape =>
        new(window.KernelHeight, window.KernelWidth, window.Stride, window.Padding, window.Dilation);

    /// <summary>y = conv(x, w) + bias; bias may be null.</summary>
    public void Forward(float* x, float* weight, float* bias, float* y)
    {
        using var direct = new DirectConv(channels, outputs, groups: 1, weight, bias, Shape, tile, pooled: true);
        Images(direct, window, x, y, accumulate: false);
    }

    /// <summary>dx = the transposed convolution of dy, or dx += it.</summary>
    public void InputGradient(float* weight, float* dy, float* dx, bool accumulate)
    {
        int taps = window.Taps, dilation = window.Dilation;
        int down = dilation * (window.KernelHeight - 1), across = dilation * (window.KernelWidth - 1);
        Padding p = window.Padding, turned = new(down - p.Top, down - p.Bottom, across - p.Left, across - p.Right);
        bool inside = Math.Min(Math.Min(turned.Top, turned.Bottom), Math.Min(turned.Left, turned.Right)) >= 0;
        if (window.Stride != 1 || !inside)
        {
            new TiledInputGradient(batch, channels, outputs, window, tile).Run(weight, dy, dx, accumulate);
            return;
        }

        // With stride 1 it is a convolution of dy: by the turned kernel, from outputs to channels.
        var shape = new ConvShape(window.KernelHeight, window.KernelWidth, 1, turned, dilation);
        using var direct = new DirectConv(outputs, channels, groups: 1, weight, bias: null, shape, tile,
            new WeightOrder(taps, (nint)channels * taps, Turned: true), pooled: true);
        Images(direct, shape.Over(window.OutHeight, window.OutWidth), dy, dx, accumulate);
    }

    /// <summary>dw = dy times x, or dw += it.</summary>
    public void WeightGradient(float* x, float* dy, float* dw, bool accumulate) =>
        new TiledWeightGradient(batch, channels, outputs, window, tile).Run(x, dy, dw, accumulate);

    private void Images(DirectConv direct, in Window over, float* x, float* y, bool accumulate)
    {
        bool winograd = Math.Min(direct.Channels, direct.Outputs) >= WinogradChannels && batch * over.OutArea >= WinogradPixels
            && WinogradConv.Suits(direct.Shape, groups: 1) && WinogradGrid.Faster(direct, batch, over);
        using WinogradConv? transformed = winograd ? new WinogradConv(direct, pooled: true) : null;
        transformed?.MakeWeights();
        var images = new ImageBlock(batch, direct.Channels * over.Area, direct.Outputs * over.OutArea, over.OutArea);
        using var pixels = new NativeFloats(images.Parts * images.Floats, cleared: false, pooled: true);
        Workers.For(batch, 1, new Job(direct, transformed, over, images, x, y, pixels.Data, accumulate));
    }

    private readonly struct Job(
        DirectConv direct, WinogradConv? transformed, Window window, ImageBlock images, float* x, float* y, float* pixels,
        bool accumulate) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            int area = window.Area, outArea = window.OutArea, from = direct.Channels, to = direct.Outputs;
            float* input = pixels + (worker * images.Floats), output = input + images.First;
            for (int first = start; first < end; first += images.Count)
            {
                int count = Math.Min(images.Count, end - first);
                for (int i = 0; i < count; i++)
                {
                    float* planes = x + ((nint)(first + i) * from * area);
                    Transposition.Run(planes, area, input + ((nint)i * area * from), from, from, area, accumulate: false);
                }

                if (transformed != null) transformed.RunTransformed(count, window, input, from, output, to, default);
                else direct.Run(count, window.Height, window.Width, input, from, output, to, default);
                for (int i = 0; i < count; i++)
                {
                    float* planes = y + ((nint)(first + i) * to * outArea);
                    Transposition.Run(output + ((nint)i * outArea * to), to, planes, outArea, outArea, to, accumulate);
                }
            }
        }
    }
}
