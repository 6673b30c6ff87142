using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Compression;

/// <summary>
/// How an activation is read as rows of values that a weight's columns meet: tokens of [.., C] (packed rows too, and [N, H, W, C] of a
/// linear layer), pixels of maps [N, C, H, W], or the windows of a convolution, whose row is what the taps of its kernel see, channel
/// by channel.
/// </summary>
public sealed unsafe class ActivationRows
{
    private readonly Conv2dOp? windows;

    // Whether four axes are a map [N, C, H, W], as convolutions read it; a linear layer's channels are on the last axis of any rank.
    private readonly bool maps;

    private ActivationRows(Conv2dOp? windows, bool maps) => (this.windows, this.maps) = (windows, maps);

    /// <summary>Pixels of maps, or tokens where there are not four axes: a value a channel.</summary>
    public static ActivationRows Channels { get; } = new(null, maps: true);

    /// <summary>Rows of the last axis, whatever stands before it: a value a channel.</summary>
    public static ActivationRows Tokens { get; } = new(null, maps: false);

    /// <summary>What the kernel of a convolution sees at each place of its result: taps values a channel, zeros for the padding.
    /// </summary>
    public static ActivationRows WindowsOf(Conv2dOp convolution) => new(convolution, maps: true);

    /// <summary>What the columns of a layer's weight meet: windows of a convolution that has any, else channels.</summary>
    public static ActivationRows Of(Op op) =>
        op is Conv2dOp conv && (conv.Inputs[1].Shape[2] * conv.Inputs[1].Shape[3] > 1 || conv.Stride != 1 || conv.Padding != default)
            ? WindowsOf(conv) : ChannelsOf(op);

    /// <summary>The channels that a layer reads or gives, a value each: of tokens for a linear layer, else of pixels.</summary>
    public static ActivationRows ChannelsOf(Op op) => op is LinearOp ? Tokens : Channels;

    /// <summary>The same activation with a value a channel, without windows.</summary>
    public ActivationRows WithoutWindows => windows is null ? this : Channels;

    /// <summary>Values of a row for each channel.</summary>
    public int Taps => windows is null ? 1 : windows.Inputs[1].Shape[2] * windows.Inputs[1].Shape[3];

    /// <summary>How many channels an activation of this shape has.</summary>
    public int ChannelsOf(Shape shape) => maps && shape.Rank == 4 ? shape[1] : shape[-1];

    /// <summary>How many rows an activation of this shape has.</summary>
    public long Count(Shape shape) => windows is null ? shape.Length / Math.Max(1, ChannelsOf(shape))
        : (long)shape[0] * Geometry(shape).OutArea;

    /// <summary>Some channels of every <paramref name="step"/>-th row: [rows, channels · taps], of the innermost scope.</summary>
    public Tensor Take(Tensor x, int[] channels, int step = 1)
    {
        int rows = checked((int)((Count(x.Shape) + step - 1) / step)), width = channels.Length * Taps;
        var taken = new Tensor(new Shape(rows, width));
        fixed (int* list = channels)
        {
            Window window = windows is null ? default : Geometry(x.Shape);
            var job = new Job(x.Data, taken.Data, list, channels.Length, ChannelsOf(x.Shape), step, window,
                maps && x.Rank == 4 ? x.Shape[2] * x.Shape[3] : 0, windows is not null);
            Workers.For(rows, Math.Max(1, 20_000 / Math.Max(1, width)), job);
        }
        return taken;
    }

    private Window Geometry(Shape x) => new(x[2], x[3], windows!.Inputs[1].Shape[2], windows.Inputs[1].Shape[3], windows.Stride,
        windows.Dilation, windows.Padding);

    private readonly struct Job(
        float* x, float* to, int* list, int count, int channels, int step, Window window, int area, bool windows) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int r = start; r < end; r++)
            {
                long row = (long)r * step;
                if (windows) Windows(row, to + (long)r * count * window.Taps);
                else Plain(row, to + (long)r * count);
            }
        }

        private void Plain(long row, float* y)
        {
            long image = area == 0 ? row : row / area, pixel = area == 0 ? 0 : row % area;
            int plane = area == 0 ? 1 : area;
            float* from = x + image * channels * plane + pixel;
            for (int c = 0; c < count; c++) y[c] = from[(long)list[c] * plane];
        }

        private void Windows(long row, float* y)
        {
            long image = row / window.OutArea;
            int place = (int)(row % window.OutArea), top = place / window.OutWidth, left = place % window.OutWidth;
            float* maps = x + image * channels * area;
            for (int c = 0; c < count; c++)
            {
                float* map = maps + (long)list[c] * area;
                for (int ky = 0; ky < window.KernelHeight; ky++)
                {
                    int h = window.Row(top, ky);
                    for (int kx = 0; kx < window.KernelWidth; kx++)
                    {
                        int w = window.Column(left, kx);
                        bool inside = (uint)h < (uint)window.Height && (uint)w < (uint)window.Width;
                        *y++ = inside ? map[h * window.Width + w] : 0;
                    }
                }
            }
        }
    }
}
