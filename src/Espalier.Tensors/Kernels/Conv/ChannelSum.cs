using System.Numerics.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Sums over the batch and the plane of NCHW data: the gradient of a bias per channel.</summary>
internal static unsafe class ChannelSum
{
    /// <summary>sum [C] += x [N, C, area], in an order that does not depend on the number of threads.</summary>
    public static void Run(float* x, int batch, int channels, int area, float* sum) =>
        Workers.For(channels, Grain.For((long)batch * area), new Job(x, batch, channels, area, sum));

    private readonly struct Job(float* x, int batch, int channels, int area, float* sum) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int c = start; c < end; c++)
            {
                double total = 0;
                for (int b = 0; b < batch; b++)
                    total += TensorPrimitives.Sum(new ReadOnlySpan<float>(x + ((long)b * channels + c) * area, area));
                sum[c] += (float)total;
            }
        }
    }
}
