using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Convolution of NCHW images as matrix products over strips of output rows. Either images are shared out over the threads,
/// each with its own scratch, or, for a batch too small for that, the threads share each product. Where they are faster,
/// <see cref="PlaneConvolution"/> and <see cref="SmallMapConvolution"/> do the work.
/// </summary>
internal readonly unsafe struct Convolution
{
    // A strip's columns should stay in the second-level cache, but be wide enough to pay for packing the weight.
    private const int ScratchFloats = 1 << 20;
    private const int NarrowestStrip = 192;

    private readonly Window window;
    private readonly int batch, channels, outputs, groups, stripRows;
    private readonly bool pointwise, planes, smallMap;

    public Convolution(int batch, int channels, int outputs, int groups, in Window window)
    {
        (this.batch, this.channels, this.outputs, this.groups, this.window) = (batch, channels, outputs, groups, window);
        smallMap = SmallMapConvolution.Fits(batch, groups, window);
        planes = !smallMap && PlaneConvolution.Fits(batch, groups, window);
        pointwise = window.Taps == 1 && window.Stride == 1 && window.Padding == default;
        int width = Math.Max(1, window.OutWidth);
        int rows = Math.Max(ScratchFloats / Math.Max(1, Depth * width), (NarrowestStrip + width - 1) / width);
        stripRows = Math.Clamp(rows, 1, Math.Max(1, window.OutHeight));
    }

    /// <summary>Elements of the weight that one output sums over: C/g·kh·kw.</summary>
    private int Depth => channels / groups * window.Taps;

    private int GroupOutputs => outputs / groups;

    /// <summary>Into how many ranges the images are cut, each with its own scratch.</summary>
    public int Parts => Workers.Parts(batch, ImagesPerThread);

    /// <summary>Floats of scratch that <see cref="Parts"/> ranges need together.</summary>
    public long ScratchLength => Parts * (smallMap ? SmallMaps.ScratchLength : pointwise ? 0 : PartScratch);

    private long PartScratch => (long)Depth * stripRows * window.OutWidth;

    private SmallMapConvolution SmallMaps => new(batch, channels, outputs, window);

    private PlaneConvolution Planes => new(batch, channels, outputs, window);

    private int ImagesPerThread => batch % Workers.Threads == 0 || batch >= 2 * Workers.Threads ? 1 : Math.Max(1, batch);

    /// <summary>y = conv(x, w) + bias; bias may be null.</summary>
    public void Forward(float* x, float* weight, float* bias, float* y, float* scratch)
    {
        if (smallMap) SmallMaps.Forward(ImagesPerThread, x, weight, bias, y, scratch);
        else if (planes) Planes.Forward(ImagesPerThread, x, weight, bias, y);
        else Workers.For(batch, ImagesPerThread, new ForwardJob(this, x, weight, bias, y, scratch));
    }

    /// <summary>
    /// Adds to dx (or not, if null) and, range by range of the images, to partial weight gradients
    /// [<see cref="Parts"/>, weight] (or not, if null).
    /// </summary>
    public void Backward(float* x, float* weight, float* dy, float* dx, float* partialDw, float* scratch)
    {
        if (smallMap)
        {
            SmallMaps.Backward(ImagesPerThread, x, weight, dy, dx, partialDw, scratch);
            return;
        }
        if (planes)
        {
            bool both = Planes.SumsWeights;
            Planes.Backward(ImagesPerThread, x, weight, dy, dx, both ? partialDw : null);
            if (both || partialDw == null) return;
            dx = null;
        }
        Workers.For(batch, ImagesPerThread, new BackwardJob(this, x, weight, dy, dx, partialDw, scratch));
    }

    private readonly struct ForwardJob(Convolution c, float* x, float* weight, float* bias, float* y, float* scratch) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            float* columns = scratch + worker * (c.pointwise ? 0 : c.PartScratch);
            for (int b = start; b < end; b++)
            {
                for (int g = 0; g < c.groups; g++)
                {
                    float* to = y + ((long)b * c.outputs + g * c.GroupOutputs) * c.window.OutArea;
                    if (bias != null) Fill(to, bias + g * c.GroupOutputs);
                    Group(c.GroupInput(x, b, g), weight + (long)g * c.GroupOutputs * c.Depth, to, columns);
                }
            }
        }

        private void Fill(float* to, float* values)
        {
            for (int o = 0; o < c.GroupOutputs; o++)
                new Span<float>(to + (long)o * c.window.OutArea, c.window.OutArea).Fill(values[o]);
        }

        private void Group(float* image, float* w, float* to, float* columns)
        {
            int area = c.window.OutArea, width = c.window.OutWidth;
            var epilogue = new Epilogue { Accumulate = bias != null };
            if (c.pointwise)
            {
                Gemm.Run(false, false, c.GroupOutputs, area, c.Depth, w, c.Depth, image, area, to, area, epilogue);
                return;
            }
            for (int first = 0; first < c.window.OutHeight; first += c.stripRows)
            {
                int last = Math.Min(first + c.stripRows, c.window.OutHeight), n = (last - first) * width;
                Im2Col.Gather(image, c.channels / c.groups, c.window, first, last, columns, n);
                Gemm.Run(false, false, c.GroupOutputs, n, c.Depth, w, c.Depth, columns, n, to + first * width, area, epilogue);
            }
        }
    }

    private readonly struct BackwardJob(
        Convolution c, float* x, float* weight, float* dy, float* dx, float* partialDw, float* scratch) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            float* columns = scratch + worker * (c.pointwise ? 0 : c.PartScratch);
            for (int b = start; b < end; b++)
            {
                for (int g = 0; g < c.groups; g++)
                {
                    long weightStart = (long)g * c.GroupOutputs * c.Depth;
                    float* dw = partialDw == null ? null : partialDw + (long)worker * c.outputs * c.Depth + weightStart;
                    float* gradient = dy + ((long)b * c.outputs + g * c.GroupOutputs) * c.window.OutArea;
                    float* dImage = dx == null ? null : c.GroupInput(dx, b, g);
                    Group(c.GroupInput(x, b, g), weight + weightStart, gradient, dImage, dw, columns);
                }
            }
        }

        private void Group(float* image, float* w, float* gradient, float* dImage, float* dw, float* columns)
        {
            int area = c.window.OutArea, width = c.window.OutWidth, planes = c.channels / c.groups;
            if (c.pointwise)
            {
                if (dw != null) WeightProduct(gradient, area, image, dw);
                if (dImage != null) InputProduct(gradient, area, w, dImage, accumulate: true);
                return;
            }
            for (int first = 0; first < c.window.OutHeight; first += c.stripRows)
            {
                int last = Math.Min(first + c.stripRows, c.window.OutHeight), n = (last - first) * width;
                if (dw != null)
                {
                    Im2Col.Gather(image, planes, c.window, first, last, columns, n);
                    WeightProduct(gradient + first * width, n, columns, dw);
                }
                if (dImage != null)
                {
                    InputProduct(gradient + first * width, n, w, columns, accumulate: false);
                    Im2Col.ScatterAdd(columns, n, planes, c.window, first, last, dImage);
                }
            }
        }

        // dw [O, depth] += dy [O, n] · columnsᵀ
        private void WeightProduct(float* gradient, int n, float* columns, float* dw) =>
            Gemm.Run(false, true, c.GroupOutputs, c.Depth, n, gradient, c.window.OutArea, columns, n, dw, c.Depth,
                new Epilogue { Accumulate = true });

        // columns [depth, n] = wᵀ · dy [O, n]
        private void InputProduct(float* gradient, int n, float* w, float* columns, bool accumulate) =>
            Gemm.Run(true, false, c.Depth, n, c.GroupOutputs, w, c.Depth, gradient, c.window.OutArea, columns, n,
                new Epilogue { Accumulate = accumulate });
    }

    private float* GroupInput(float* x, int image, int group) =>
        x + ((long)image * channels + group * (channels / groups)) * window.Area;
}
