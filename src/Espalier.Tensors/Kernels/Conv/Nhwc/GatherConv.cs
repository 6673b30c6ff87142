using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Any convolution, groups and dilation included, with any tiles: what each output pixel sees is gathered into a row,
/// and strips of such rows are multiplied with the packed weights by <see cref="Gemm"/>. A pointwise one multiplies the pixels
/// where they lie.</summary>
internal sealed unsafe class GatherConv : PackedConv
{
    // Floats of gathered rows that stay in L2 while they are multiplied, and the fewest rows that pay for reading the weights.
    private const int StripFloats = 96 * 1024;
    private const int FewestRows = 48;

    private readonly PackedB[] weights;
    private readonly NativeFloats? bias;

    public GatherConv(int channels, int outputs, int groups, float* weight, float* bias, in ConvShape shape, TileSet tiles)
        : base(channels, outputs, shape)
    {
        int inputs = channels / groups, taps = shape.Taps, depth = inputs * taps;
        weights = new PackedB[groups];
        using var turned = new NativeFloats((nint)outputs / groups * depth);
        for (int g = 0; g < groups; g++)
        {
            float* w = weight + (nint)g * (outputs / groups) * depth, to = turned.Data;
            for (int o = 0; o < outputs / groups; o++, w += depth, to += depth)
                Transposition.Run(w, taps, to, inputs, inputs, taps, accumulate: false);
            weights[g] = new PackedB(transB: true, outputs / groups, depth, turned.Data, depth, tiles);
        }

        if (bias != null)
        {
            this.bias = new NativeFloats(outputs);
            new ReadOnlySpan<float>(bias, outputs).CopyTo(new Span<float>(this.bias.Data, outputs));
        }
    }

    public override long Bytes => weights.Sum(w => 4L * w.K * Blocking.RoundUp(w.N, w.Tiles.Columns)) + (4 * (bias?.Length ?? 0));

    private int GroupInputs => Channels / weights.Length;

    private int GroupOutputs => Outputs / weights.Length;

    public override void Run(
        int images, int height, int width, float* x, int ldx, float* y, int ldy, in ConvEpilogue epilogue)
    {
        Window window = Shape.Over(height, width);
        long rows = (long)images * window.OutArea;
        if (rows == 0 || Outputs == 0) return;

        int strip = Math.Max(FewestRows, StripFloats / Math.Max(1, GroupInputs * Shape.Taps));
        int strips = checked((int)((rows + strip - 1) / strip));
        var job = new Job(this, window, checked((int)rows), strips, x, ldx, y, ldy, epilogue);

        // Few strips: one after the other, each product shared between the threads.
        if (strips < 2 * Workers.Available) job.Run(0, strips, 0);
        else Workers.For(strips, 1, job);
    }

    public override void Dispose()
    {
        foreach (PackedB w in weights) w.Dispose();
        bias?.Dispose();
    }

    private readonly struct Job(
        GatherConv conv, Window window, int rows, int strips, float* x, int ldx, float* y, int ldy, ConvEpilogue epilogue)
        : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int s = start; s < end; s++)
            {
                int first = (int)((long)rows * s / strips), count = (int)((long)rows * (s + 1) / strips) - first;
                for (int g = 0; g < conv.weights.Length; g++) Strip(g, first, count);
            }
        }

        private void Strip(int g, int first, int count)
        {
            PackedB w = conv.weights[g];
            int offset = g * conv.GroupOutputs;
            float* a = x + ((nint)first * ldx) + (g * conv.GroupInputs);
            int lda = ldx;
            if (!conv.Shape.Pointwise || epilogue.InputScale != null)
            {
                a = Scratch.Rent((nint)count * w.K);
                lda = w.K;
                for (int i = 0; i < count; i++) Gather(g, first + i, a + ((nint)i * lda));
            }

            float* c = y + ((nint)first * ldy) + offset;
            float* residual = epilogue.Residual == null ? null
                : epilogue.Residual + ((nint)first * epilogue.LdResidual) + offset;
            Gemm.Run(count, w.N, w.K, a, lda, w, c, ldy, new Epilogue
            {
                Bias = conv.bias == null ? null : conv.bias.Data + offset,
                Residual = residual,
                LdResidual = epilogue.LdResidual,
            });
            Activations.Apply(epilogue.Activation, c, ldy, count, w.N);
        }

        private void Gather(int g, int pixel, float* to)
        {
            int inputs = conv.GroupInputs, channel = g * inputs, stretch = window.KernelWidth * inputs;
            int image = pixel / window.OutArea, row = pixel % window.OutArea / window.OutWidth, column = pixel % window.OutWidth;
            float* scale = epilogue.InputScale == null ? null : epilogue.InputScale + channel;
            float* shift = epilogue.InputShift + channel;
            for (int ky = 0; ky < window.KernelHeight; ky++, to += stretch)
            {
                int y = window.Row(row, ky);
                if ((uint)y >= (uint)window.Height)
                {
                    new Span<float>(to, stretch).Clear();
                    continue;
                }

                float* line = x + (((nint)image * window.Area) + ((nint)y * window.Width)) * ldx + channel;
                for (int kx = 0; kx < window.KernelWidth; kx++)
                {
                    int from = window.Column(column, kx);
                    if ((uint)from >= (uint)window.Width) new Span<float>(to + (kx * inputs), inputs).Clear();
                    else InputRows.Copy(line + ((nint)from * ldx), ldx, to + (kx * inputs), inputs, 1, inputs, scale, shift);
                }
            }
        }
    }
}
