using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Convolution of each channel by itself, groups = channels = outputs: vectors hold channels, and
/// <see cref="DepthwisePixels"/> computes a few neighbouring pixels of a row at a time.</summary>
internal sealed unsafe class DepthwiseConv : PackedConv
{
    private readonly NativeFloats weights, bias;

    public DepthwiseConv(int channels, float* weight, float* bias, in ConvShape shape)
        : base(channels, channels, shape)
    {
        // [taps, channels]
        weights = new NativeFloats((nint)channels * shape.Taps);
        Transposition.Run(weight, shape.Taps, weights.Data, channels, channels, shape.Taps, accumulate: false);
        this.bias = new NativeFloats(channels);
        if (bias != null) new ReadOnlySpan<float>(bias, channels).CopyTo(new Span<float>(this.bias.Data, channels));
    }

    public override long Bytes => 4 * (weights.Length + bias.Length);

    public override void Run(
        int images, int height, int width, float* x, int ldx, float* y, int ldy, in ConvEpilogue epilogue)
    {
        Window window = Shape.Over(height, width);
        if (window.OutArea == 0) return;
        if (epilogue.InputScale != null)
        {
            int pixels = images * window.Area;
            float* copy = Scratch.Rent((nint)pixels * Channels);
            InputRows.Copy(x, ldx, copy, Channels, pixels, Channels, epilogue.InputScale, epilogue.InputShift);
            x = copy;
            ldx = Channels;
        }

        int lines = images * window.OutHeight, grain = Grain.For((long)window.OutWidth * Channels);
        if (Hardware.Has512) Run<Simd512, Vector512<float>>(lines, grain, window, x, ldx, y, ldy, epilogue);
        else if (Hardware.Has256) Run<Simd256, Vector256<float>>(lines, grain, window, x, ldx, y, ldy, epilogue);
        else Run<Simd128, Vector128<float>>(lines, grain, window, x, ldx, y, ldy, epilogue);
        GC.KeepAlive(this);
    }

    public override void Dispose()
    {
        weights.Dispose();
        bias.Dispose();
    }

    private void Run<S, V>(
        int lines, int grain, in Window window, float* x, int ldx, float* y, int ldy, in ConvEpilogue epilogue)
        where S : ISimd<V> where V : struct =>
        Workers.For(lines, grain, new Job<S, V>(this, window, x, ldx, y, ldy, epilogue));

    private readonly struct Job<S, V>(
        DepthwiseConv conv, Window window, float* x, int ldx, float* y, int ldy, ConvEpilogue epilogue) : IRangeJob
        where S : ISimd<V> where V : struct
    {
        public void Run(int start, int end, int worker)
        {
            for (int line = start; line < end; line++) Line(line / window.OutHeight, line % window.OutHeight);
        }

        private void Line(int image, int row)
        {
            int dilation = window.Dilation, channels = conv.Channels;
            int top = Taps(window.Row(row, 0), window.Height, window.KernelHeight, dilation, out int bottom);
            nint lineStep = (nint)window.Width * ldx;
            float* line = x + (((nint)image * window.Height) + window.Row(row, top)) * lineStep;
            nint first = ((nint)image * window.OutArea) + ((nint)row * window.OutWidth);
            for (int column = 0; column < window.OutWidth;)
            {
                int from = window.Column(column, 0);
                int left = Taps(from, window.Width, window.KernelWidth, dilation, out int right);
                var pixels = new DepthwisePixels
                {
                    X = line + ((nint)(from + (left * dilation)) * ldx),
                    Step = (nint)window.Stride.Columns * ldx,
                    RowStep = dilation * lineStep,
                    TapStep = (nint)dilation * ldx,
                    Rows = bottom - top,
                    Taps = right - left,
                    Weights = conv.weights.Data + (nint)((top * window.KernelWidth) + left) * channels,
                    WeightRow = window.KernelWidth * channels,
                    Channels = channels,
                    Bias = conv.bias.Data,
                    Residual = epilogue.Residual == null ? null : epilogue.Residual + (first + column) * epilogue.LdResidual,
                    LdResidual = epilogue.LdResidual,
                    Activation = epilogue.Activation,
                    Y = y + (first + column) * ldy,
                    Ldy = ldy,
                };

                // Neighbours whose taps are all inside go together.
                int together = left == 0 && right == window.KernelWidth ? Inside(column) : 1;
                if (together >= 8) (column, together) = (column + 8, 8);
                else if (together >= 4) (column, together) = (column + 4, 4);
                else (column, together) = (column + 1, 1);
                pixels.Run<S, V>(together);
            }
        }

        // Columns from this one on whose last tap is inside.
        private int Inside(int column)
        {
            int last = window.Width - 1 - ((window.KernelWidth - 1) * window.Dilation) + window.Padding.Left;
            return Math.Min((last / window.Stride.Columns) + 1, window.OutWidth) - column;
        }

        // The first tap that is inside, and the one after the last; the same where none is.
        private static int Taps(int from, int size, int kernel, int dilation, out int end)
        {
            int start = from >= 0 ? 0 : (-from + dilation - 1) / dilation;
            end = size <= from ? 0 : Math.Min(kernel, ((size - from - 1) / dilation) + 1);
            return Math.Min(start, end);
        }
    }
}
