using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Rows of a weight brought to mean 0 and standard deviation 1: w' = (w - mean)·r.</summary>
internal static unsafe class StandardiseRows
{
    /// <param name="epsilonOnStd">True: r = 1/(std + eps). False: r = 1/sqrt(variance + eps).</param>
    public static void Forward(float* w, int rows, int width, bool epsilonOnStd, float epsilon, float* y) =>
        Workers.For(rows, Grain.For(width), new ForwardJob(w, width, epsilonOnStd, epsilon, y));

    /// <summary>dw is written, or added to with <paramref name="accumulate"/>.</summary>
    public static void Backward(
        float* w, float* dy, int rows, int width, bool epsilonOnStd, float epsilon, float* dw, bool accumulate) =>
        Workers.For(rows, Grain.For(width), new BackwardJob(w, dy, width, epsilonOnStd, epsilon, dw, accumulate));

    private static (float Mean, double Std) Moments(float* w, int width)
    {
        float mean = (float)(Plane.Sum(w, width) / width);
        return (mean, Math.Sqrt(Plane.CentredSquares(w, mean, width) / width));
    }

    private static double Scale(double std, bool epsilonOnStd, float epsilon) =>
        epsilonOnStd ? 1 / (std + epsilon) : 1 / Math.Sqrt(std * std + epsilon);

    private readonly struct ForwardJob(float* w, int width, bool epsilonOnStd, float epsilon, float* y) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                float* row = w + (long)i * width;
                var (mean, std) = Moments(row, width);
                Plane.Normalise(row, mean, (float)Scale(std, epsilonOnStd, epsilon), 0, y + (long)i * width, width);
            }
        }
    }

    private readonly struct BackwardJob(
        float* w, float* dy, int width, bool epsilonOnStd, float epsilon, float* dw, bool accumulate) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                float* row = w + (long)i * width, gradient = dy + (long)i * width;
                var (mean, std) = Moments(row, width);
                double scale = Scale(std, epsilonOnStd, epsilon);
                // d(scale)/d(w) is -slope·(w - mean)/width. A constant row has no direction in which its std grows: slope 0.
                double slope = !epsilonOnStd ? scale * scale * scale : std > 0 ? scale * scale / std : 0;
                double dot = Plane.CentredDot(gradient, row, mean, width) / width, average = Plane.Sum(gradient, width) / width;
                Plane.Gradient(gradient, (float)scale, row, mean, (float)(-slope * dot), (float)(-scale * average),
                    dw + (long)i * width, accumulate, width);
            }
        }
    }
}
