using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Mean over a window of each plane, the padding counted as zeros or left out of the count.</summary>
internal static unsafe class AveragePooling
{
    /// <summary>x [planes, H, W] -> y [planes, OH, OW].</summary>
    public static void Forward(float* x, int planes, in Window window, bool countPadding, float* y) =>
        Workers.For(planes, Grain.For((long)window.OutArea * window.Taps), new Job(x, window, countPadding, y, forward: true));

    /// <summary>dx [planes, H, W] += each dy, shared out evenly over its window.</summary>
    public static void Backward(float* dy, int planes, in Window window, bool countPadding, float* dx) =>
        Workers.For(planes, Grain.For((long)window.OutArea * window.Taps), new Job(dx, window, countPadding, dy, forward: false));

    private readonly struct Job(float* image, Window window, bool countPadding, float* means, bool forward) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int p = start; p < end; p++)
            {
                float* plane = image + (long)p * window.Area, mean = means + (long)p * window.OutArea;
                for (int row = 0; row < window.OutHeight; row++)
                    for (int column = 0; column < window.OutWidth; column++, mean++) Visit(plane, row, column, mean);
            }
        }

        private void Visit(float* plane, int outRow, int outColumn, float* mean)
        {
            int top = Math.Max(0, window.Row(outRow, 0));
            int bottom = Math.Min(window.Height, window.Row(outRow, window.KernelHeight));
            int left = Math.Max(0, window.Column(outColumn, 0));
            int right = Math.Min(window.Width, window.Column(outColumn, window.KernelWidth));
            int count = countPadding ? window.Taps : (bottom - top) * (right - left);
            float sum = 0, share = forward ? 0 : *mean / count;
            for (int row = top; row < bottom; row++)
            {
                float* from = plane + row * window.Width;
                if (forward) for (int column = left; column < right; column++) sum += from[column];
                else for (int column = left; column < right; column++) from[column] += share;
            }
            if (forward) *mean = sum / count;
        }
    }
}
