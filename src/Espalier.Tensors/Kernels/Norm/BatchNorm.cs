using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Batch normalisation of [N, C, area] data, channel by channel: y = (x - mean)·rstd·gamma + beta, or the larger one of
/// that and 0 with a ReLU.</summary>
internal readonly unsafe struct BatchNorm(int batch, int channels, int area, bool relu)
{
    private readonly int batch = batch, channels = channels, area = area;
    private readonly bool relu = relu;

    private int PerThread => Grain.For((long)batch * area);

    /// <summary>mean and variance (population) [C] of x.</summary>
    public void Moments(float* x, float* mean, float* variance) =>
        Workers.For(channels, PerThread, new MomentsJob(this, x, mean, variance));

    public void Forward(float* x, float* gamma, float* beta, float* mean, float* rstd, float* y) =>
        Workers.For(channels, PerThread, new ForwardJob(this, x, gamma, beta, mean, rstd, y));

    /// <summary>
    /// dGamma and dBeta are added to; dx is written, or added to with <paramref name="accumulate"/>. Each may be null.
    /// </summary>
    /// <param name="batchStatistics">Whether mean and rstd came from x, so that the gradient flows through them too.</param>
    public void Backward(
        float* x, float* dy, float* gamma, float* beta, float* mean, float* rstd, bool batchStatistics,
        float* dx, bool accumulate, float* dGamma, float* dBeta) =>
        Workers.For(channels, PerThread,
            new BackwardJob(this, x, dy, gamma, beta, mean, rstd, batchStatistics, dx, accumulate, dGamma, dBeta));

    private float* Of(float* x, int image, int channel) => x + ((long)image * channels + channel) * area;

    private readonly struct MomentsJob(BatchNorm n, float* x, float* mean, float* variance) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            double count = (double)n.batch * n.area;
            for (int c = start; c < end; c++)
            {
                // The mean of one image is near enough to that of all.
                float pivot = (float)(Plane.Sum(n.Of(x, 0, c), n.area) / n.area);
                double sum = 0, squares = 0;
                for (int b = 0; b < n.batch; b++) Plane.Moments(n.Of(x, b, c), pivot, n.area, ref sum, ref squares);
                double offset = sum / count;
                mean[c] = (float)(pivot + offset);
                variance[c] = (float)Math.Max(0, (squares / count) - (offset * offset));
            }
        }
    }

    private readonly struct ForwardJob(
        BatchNorm n, float* x, float* gamma, float* beta, float* mean, float* rstd, float* y) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int c = start; c < end; c++)
                for (int b = 0; b < n.batch; b++)
                    Plane.Normalise(n.Of(x, b, c), mean[c], rstd[c] * gamma[c], beta[c], n.Of(y, b, c), n.area, n.relu);
        }
    }

    private readonly struct BackwardJob(
        BatchNorm n, float* x, float* dy, float* gamma, float* beta, float* mean, float* rstd, bool batchStatistics,
        float* dx, bool accumulate, float* dGamma, float* dBeta) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int c = start; c < end; c++)
            {
                double sum = 0, dot = 0, count = (double)n.batch * n.area;
                var gate = new ReluGate(rstd[c] * gamma[c], beta[c], n.relu);
                for (int b = 0; b < n.batch; b++)
                    Plane.GradientSums(n.Of(dy, b, c), n.Of(x, b, c), mean[c], gate, n.area, ref sum, ref dot);
                if (dBeta != null) dBeta[c] += (float)sum;
                if (dGamma != null) dGamma[c] += (float)(dot * rstd[c]);
                if (dx == null) continue;
                float scale = gamma[c] * rstd[c];
                float slope = batchStatistics ? (float)(-scale * rstd[c] * rstd[c] * dot / count) : 0;
                float shift = batchStatistics ? (float)(-scale * sum / count) : 0;
                for (int b = 0; b < n.batch; b++)
                {
                    float* to = n.Of(dx, b, c);
                    Plane.Gradient(n.Of(dy, b, c), scale, n.Of(x, b, c), mean[c], slope, shift, to, accumulate, n.area, gate);
                }
            }
        }
    }
}
