using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Resizes planes [planes, H, W] -> [planes, OH, OW] by a table for each axis, first along rows.</summary>
internal readonly unsafe struct Resize(int planes, ResizeTable vertical, ResizeTable horizontal)
{
    private readonly int planes = planes;
    private readonly ResizeTable vertical = vertical, horizontal = horizontal;

    private int PerThread =>
        Grain.For(PartScratch * horizontal.Taps + (long)vertical.Outputs * horizontal.Outputs * vertical.Taps);

    private long PartScratch => (long)vertical.Inputs * horizontal.Outputs;

    /// <summary>Floats of scratch that both directions need.</summary>
    public long ScratchLength => Workers.Parts(planes, PerThread) * PartScratch;

    public void Forward(float* x, float* y, float* scratch) =>
        Workers.For(planes, PerThread, new ForwardJob(this, x, y, scratch));

    /// <summary>Adds to dx.</summary>
    public void Backward(float* dy, float* dx, float* scratch) =>
        Workers.For(planes, PerThread, new BackwardJob(this, dy, dx, scratch));

    private readonly struct ForwardJob(Resize r, float* x, float* y, float* scratch) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            ResizeTable v = r.vertical, h = r.horizontal;
            float* wide = scratch + worker * r.PartScratch;
            for (int p = start; p < end; p++)
            {
                float* from = x + (long)p * v.Inputs * h.Inputs, to = y + (long)p * v.Outputs * h.Outputs;
                for (int row = 0; row < v.Inputs; row++) Stretch(h, from + row * h.Inputs, wide + row * h.Outputs);
                for (int row = 0; row < v.Outputs; row++, to += h.Outputs)
                {
                    new Span<float>(to, h.Outputs).Clear();
                    for (int t = row * v.Taps; t < (row + 1) * v.Taps; t++)
                        AddScaled(wide + v.Index[t] * h.Outputs, v.Weight[t], to, h.Outputs);
                }
            }
        }

        private static void Stretch(ResizeTable h, float* from, float* to)
        {
            for (int i = 0, t = 0; i < h.Outputs; i++)
            {
                float sum = 0;
                for (int stop = t + h.Taps; t < stop; t++) sum += h.Weight[t] * from[h.Index[t]];
                to[i] = sum;
            }
        }
    }

    private readonly struct BackwardJob(Resize r, float* dy, float* dx, float* scratch) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            ResizeTable v = r.vertical, h = r.horizontal;
            float* wide = scratch + worker * r.PartScratch;
            for (int p = start; p < end; p++)
            {
                float* from = dy + (long)p * v.Outputs * h.Outputs, to = dx + (long)p * v.Inputs * h.Inputs;
                new Span<float>(wide, (int)r.PartScratch).Clear();
                for (int row = 0; row < v.Outputs; row++, from += h.Outputs)
                    for (int t = row * v.Taps; t < (row + 1) * v.Taps; t++)
                        AddScaled(from, v.Weight[t], wide + v.Index[t] * h.Outputs, h.Outputs);
                for (int row = 0; row < v.Inputs; row++) Shrink(h, wide + row * h.Outputs, to + row * h.Inputs);
            }
        }

        private static void Shrink(ResizeTable h, float* from, float* to)
        {
            for (int i = 0, t = 0; i < h.Outputs; i++)
                for (int stop = t + h.Taps; t < stop; t++) to[h.Index[t]] += h.Weight[t] * from[i];
        }
    }

    private static void AddScaled(float* x, float scale, float* sum, int n)
    {
        var sums = new Span<float>(sum, n);
        System.Numerics.Tensors.TensorPrimitives.MultiplyAdd(new ReadOnlySpan<float>(x, n), scale, sums, sums);
    }
}
