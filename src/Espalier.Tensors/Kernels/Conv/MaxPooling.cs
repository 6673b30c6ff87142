using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Maximum over a window of each plane. Padding never wins: it counts as minus infinity.</summary>
internal static unsafe class MaxPooling
{
    /// <summary>
    /// x [planes, H, W] -> y [planes, OH, OW]; argmax, if not null, receives where in its plane each maximum came from.
    /// </summary>
    public static void Forward(float* x, int planes, in Window window, float* y, int* argmax) =>
        Workers.For(planes, Grain.For((long)window.OutArea * window.Taps), new ForwardJob(x, window, y, argmax));

    /// <summary>dx [planes, H, W] += dy at the places of the maxima.</summary>
    public static void Backward(float* dy, int* argmax, int planes, in Window window, float* dx) =>
        Workers.For(planes, Grain.For(window.OutArea), new BackwardJob(dy, argmax, window, dx));

    private readonly struct ForwardJob(float* x, Window window, float* y, int* argmax) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int p = start; p < end; p++)
            {
                float* plane = x + (long)p * window.Area;
                long to = (long)p * window.OutArea;
                for (int row = 0; row < window.OutHeight; row++)
                {
                    int top = Math.Max(0, window.Row(row, 0));
                    int bottom = Math.Min(window.Height, window.Row(row, window.KernelHeight));
                    for (int column = 0; column < window.OutWidth; column++, to++)
                    {
                        int place = Largest(plane, top, bottom, column);
                        y[to] = plane[place];
                        if (argmax != null) argmax[to] = place;
                    }
                }
            }
        }

        // The first of equal ones, and a NaN before anything, as in PyTorch.
        private int Largest(float* plane, int top, int bottom, int column)
        {
            int left = Math.Max(0, window.Column(column, 0));
            int right = Math.Min(window.Width, window.Column(column, window.KernelWidth));
            int place = top * window.Width + left;
            float largest = float.NegativeInfinity;
            for (int row = top; row < bottom; row++)
            {
                for (int i = row * window.Width + left; i < row * window.Width + right; i++)
                {
                    if (plane[i] <= largest) continue;
                    if (float.IsNaN(largest)) return place;
                    (largest, place) = (plane[i], i);
                }
            }
            return place;
        }
    }

    private readonly struct BackwardJob(float* dy, int* argmax, Window window, float* dx) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int p = start; p < end; p++)
            {
                float* plane = dx + (long)p * window.Area;
                for (long i = (long)p * window.OutArea; i < (long)(p + 1) * window.OutArea; i++) plane[argmax[i]] += dy[i];
            }
        }
    }
}
