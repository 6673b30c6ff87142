using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Group normalisation of [N, C, area] data: statistics over the channels of a group of one image.</summary>
internal readonly unsafe struct GroupNorm(int batch, int channels, int groups, int area)
{
    private readonly int batch = batch, channels = channels, groups = groups, area = area;

    private int Size => channels / groups;

    private int PerThread => Grain.For((long)Size * area);

    /// <summary>y = (x - mean)·rstd·gamma + beta; mean and rstd [N, groups] are written.</summary>
    public void Forward(float* x, float* gamma, float* beta, float epsilon, float* y, float* mean, float* rstd) =>
        Workers.For(batch * groups, PerThread, new ForwardJob(this, x, gamma, beta, epsilon, y, mean, rstd));

    /// <summary>dx is written, or added to with <paramref name="accumulate"/>.</summary>
    public void BackwardInput(float* x, float* dy, float* gamma, float* mean, float* rstd, float* dx, bool accumulate) =>
        Workers.For(batch * groups, PerThread, new InputJob(this, x, dy, gamma, mean, rstd, dx, accumulate));

    /// <summary>dGamma and dBeta [C] are added to; each may be null.</summary>
    public void BackwardScale(float* x, float* dy, float* mean, float* rstd, float* dGamma, float* dBeta) =>
        Workers.For(channels, Grain.For((long)batch * area), new ScaleJob(this, x, dy, mean, rstd, dGamma, dBeta));

    private readonly struct ForwardJob(
        GroupNorm n, float* x, float* gamma, float* beta, float epsilon, float* y, float* mean, float* rstd) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                long first = (long)i * n.Size * n.area;
                double sum = 0, squares = 0, count = (double)n.Size * n.area;
                for (int c = 0; c < n.Size; c++) sum += Plane.Sum(x + first + (long)c * n.area, n.area);
                mean[i] = (float)(sum / count);
                for (int c = 0; c < n.Size; c++) squares += Plane.CentredSquares(x + first + (long)c * n.area, mean[i], n.area);
                rstd[i] = (float)(1 / Math.Sqrt(squares / count + epsilon));
                int channel = i % n.groups * n.Size;
                for (int c = 0; c < n.Size; c++, first += n.area)
                    Plane.Normalise(x + first, mean[i], rstd[i] * gamma[channel + c], beta[channel + c], y + first, n.area);
            }
        }
    }

    private readonly struct InputJob(
        GroupNorm n, float* x, float* dy, float* gamma, float* mean, float* rstd, float* dx, bool accumulate) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                long first = (long)i * n.Size * n.area;
                int channel = i % n.groups * n.Size;
                double sum = 0, dot = 0, count = (double)n.Size * n.area;
                for (int c = 0; c < n.Size; c++)
                {
                    long at = first + (long)c * n.area;
                    sum += gamma[channel + c] * Plane.Sum(dy + at, n.area);
                    dot += gamma[channel + c] * Plane.CentredDot(dy + at, x + at, mean[i], n.area);
                }
                float slope = (float)(-dot / count * rstd[i] * rstd[i] * rstd[i]), shift = (float)(-sum / count * rstd[i]);
                for (int c = 0; c < n.Size; c++, first += n.area)
                {
                    float scale = rstd[i] * gamma[channel + c];
                    Plane.Gradient(dy + first, scale, x + first, mean[i], slope, shift, dx + first, accumulate, n.area);
                }
            }
        }
    }

    private readonly struct ScaleJob(
        GroupNorm n, float* x, float* dy, float* mean, float* rstd, float* dGamma, float* dBeta) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int c = start; c < end; c++)
            {
                double gamma = 0, beta = 0;
                for (int b = 0; b < n.batch; b++)
                {
                    long at = ((long)b * n.channels + c) * n.area;
                    int group = b * n.groups + c / n.Size;
                    gamma += rstd[group] * Plane.CentredDot(dy + at, x + at, mean[group], n.area);
                    beta += Plane.Sum(dy + at, n.area);
                }
                if (dGamma != null) dGamma[c] += (float)gamma;
                if (dBeta != null) dBeta[c] += (float)beta;
            }
        }
    }
}
