using System.Numerics;
using System.Numerics.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Convolution where each output plane sees one input plane (groups = C): too little arithmetic for a matrix product, so it is
/// computed directly. Output plane o of an image reads input plane o / (O / C).
/// </summary>
internal readonly unsafe struct Depthwise
{
    private readonly Window window;
    private readonly int batch, channels, outputs;

    public Depthwise(int batch, int channels, int outputs, in Window window) =>
        (this.batch, this.channels, this.outputs, this.window) = (batch, channels, outputs, window);

    private int PaddedWidth => window.Width + window.Padding.Left + window.Padding.Right;

    private int PaddedArea => (window.Height + window.Padding.Top + window.Padding.Bottom) * PaddedWidth;

    private int PlanesPerThread => Grain.For((long)window.OutArea * window.Taps);

    /// <summary>Floats of scratch for <see cref="Forward"/>: one padded plane a thread.</summary>
    public long ScratchLength => (long)Workers.Parts(batch * outputs, PlanesPerThread) * PaddedArea;

    public void Forward(float* x, float* weight, float* bias, float* y, float* scratch) =>
        Workers.For(batch * outputs, PlanesPerThread, new ForwardJob(this, x, weight, bias, y, scratch));

    /// <summary>Adds to dx.</summary>
    public void BackwardInput(float* weight, float* dy, float* dx) =>
        Workers.For(batch * channels, PlanesPerThread, new InputJob(this, weight, dy, dx));

    /// <summary>Adds to dw; one thread owns an output plane over the whole batch, so the order of sums is fixed.</summary>
    public void BackwardWeight(float* x, float* dy, float* dw) =>
        Workers.For(outputs, Grain.For((long)batch * window.OutArea * window.Taps), new WeightJob(this, x, dy, dw));

    private readonly struct ForwardJob(Depthwise d, float* x, float* weight, float* bias, float* y, float* scratch) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            float* padded = scratch + (long)worker * d.PaddedArea;
            new Span<float>(padded, d.PaddedArea).Clear();
            for (int i = start; i < end; i++)
            {
                int b = i / d.outputs, o = i % d.outputs, c = o / (d.outputs / d.channels);
                Pad(x + ((long)b * d.channels + c) * d.window.Area, padded);
                Plane(padded, weight + (long)o * d.window.Taps, bias == null ? 0 : bias[o], y + (long)i * d.window.OutArea);
            }
        }

        // The border stays zero from plane to plane: only the inside is written.
        private void Pad(float* plane, float* padded)
        {
            padded += d.window.Padding.Top * d.PaddedWidth + d.window.Padding.Left;
            for (int row = 0; row < d.window.Height; row++, plane += d.window.Width, padded += d.PaddedWidth)
                new ReadOnlySpan<float>(plane, d.window.Width).CopyTo(new Span<float>(padded, d.window.Width));
        }

        private void Plane(float* padded, float* w, float start, float* to)
        {
            int stride = d.window.Stride.Columns, down = d.window.Stride.Rows, width = d.window.OutWidth;
            for (int row = 0; row < d.window.OutHeight; row++, padded += down * d.PaddedWidth, to += width)
            {
                int column = 0, lanes = stride == 1 ? Vector<float>.Count : width + 1;
                for (; column <= width - lanes; column += lanes) Wide(padded + column, w, start).Store(to + column);
                for (; column < width; column++) to[column] = One(padded + column * stride, w, start);
            }
        }

        private Vector<float> Wide(float* from, float* w, float start)
        {
            var sum = new Vector<float>(start);
            for (int ky = 0; ky < d.window.KernelHeight; ky++, from += d.window.Dilation * d.PaddedWidth)
                for (int kx = 0; kx < d.window.KernelWidth; kx++)
                    sum = Vector.FusedMultiplyAdd(Vector.Load(from + kx * d.window.Dilation), new Vector<float>(*w++), sum);
            return sum;
        }

        private float One(float* from, float* w, float start)
        {
            float sum = start;
            for (int ky = 0; ky < d.window.KernelHeight; ky++, from += d.window.Dilation * d.PaddedWidth)
                for (int kx = 0; kx < d.window.KernelWidth; kx++)
                    sum = MathF.FusedMultiplyAdd(from[kx * d.window.Dilation], *w++, sum);
            return sum;
        }
    }

    private readonly struct InputJob(Depthwise d, float* weight, float* dy, float* dx) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            int perChannel = d.outputs / d.channels;
            for (int i = start; i < end; i++)
            {
                for (int m = 0; m < perChannel; m++)
                {
                    int o = i % d.channels * perChannel + m;
                    float* gradient = dy + ((long)(i / d.channels) * d.outputs + o) * d.window.OutArea;
                    Plane(gradient, weight + (long)o * d.window.Taps, dx + (long)i * d.window.Area);
                }
            }
        }

        private void Plane(float* gradient, float* w, float* to)
        {
            for (int tap = 0; tap < d.window.Taps; tap++)
            {
                int ky = tap / d.window.KernelWidth, kx = tap % d.window.KernelWidth;
                var (top, bottom) = d.window.Rows(ky);
                var (left, right) = d.window.Columns(kx);
                for (int row = top; row < bottom; row++)
                {
                    float* from = gradient + row * d.window.OutWidth;
                    float* sum = to + d.window.Row(row, ky) * d.window.Width + d.window.Column(left, kx);
                    if (d.window.Stride.Columns == 1)
                    {
                        var sums = new Span<float>(sum, right - left);
                        TensorPrimitives.MultiplyAdd(new ReadOnlySpan<float>(from + left, right - left), w[tap], sums, sums);
                    }
                    else
                    {
                        for (int column = left; column < right; column++, sum += d.window.Stride.Columns) *sum += w[tap] * from[column];
                    }
                }
            }
        }
    }

    private readonly struct WeightJob(Depthwise d, float* x, float* dy, float* dw) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int o = start; o < end; o++)
            {
                int c = o / (d.outputs / d.channels);
                for (int tap = 0; tap < d.window.Taps; tap++)
                {
                    double sum = 0;
                    for (int b = 0; b < d.batch; b++)
                    {
                        float* plane = x + ((long)b * d.channels + c) * d.window.Area;
                        float* gradient = dy + ((long)b * d.outputs + o) * d.window.OutArea;
                        sum += Tap(plane, gradient, tap / d.window.KernelWidth, tap % d.window.KernelWidth);
                    }
                    dw[(long)o * d.window.Taps + tap] += (float)sum;
                }
            }
        }

        private double Tap(float* plane, float* gradient, int ky, int kx)
        {
            var (top, bottom) = d.window.Rows(ky);
            var (left, right) = d.window.Columns(kx);
            int n = right - left;
            double sum = 0;
            for (int row = top; row < bottom; row++)
            {
                float* dyRow = gradient + row * d.window.OutWidth + left;
                float* xRow = plane + d.window.Row(row, ky) * d.window.Width + d.window.Column(left, kx);
                if (d.window.Stride.Columns == 1)
                    sum += TensorPrimitives.Dot(new ReadOnlySpan<float>(dyRow, n), new ReadOnlySpan<float>(xRow, n));
                else
                    for (int i = 0; i < n; i++) sum += dyRow[i] * xRow[i * d.window.Stride.Columns];
            }
            return sum;
        }
    }
}
