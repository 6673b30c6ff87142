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
    /// dGamma and dBeta are added to; dx is written, or added to. Each may be null.
    /// </summary>
    /// <param name="batchStatistics">Whether mean and rstd came from x, so that the gradient flows through them too.</param>
    public void Backward(in BatchNormGradient g, bool batchStatistics, float* dGamma, float* dBeta) =>
        Workers.For(channels, PerThread, new BackwardJob(this, g, batchStatistics, dGamma, dBeta));

    /// <summary>The sums of the gradient of y [C], and behind them those of its products with x - mean [C].</summary>
    public void GradientSums(in BatchNormGradient g, double* sums) =>
        Workers.For(channels, PerThread, new SumsJob(this, g, sums));

    /// <summary>dx alone, where mean and rstd came from more images than these.</summary>
    /// <param name="sums">Of all images, as <see cref="GradientSums"/> gives them for these.</param>
    /// <param name="count">Values a channel of all images.</param>
    public void Gradient(in BatchNormGradient g, double* sums, double count) =>
        Workers.For(channels, PerThread, new GradientJob(this, g, sums, count));

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

    private (double Sum, double Dot) SumsOf(int c, in BatchNormGradient g)
    {
        double sum = 0, dot = 0;
        var gate = new ReluGate(g.Rstd[c] * g.Gamma[c], g.Beta[c], relu);
        for (int b = 0; b < batch; b++)
            Plane.GradientSums(Of(g.Dy, b, c), Of(g.X, b, c), g.Mean[c], gate, area, ref sum, ref dot);
        return (sum, dot);
    }

    /// <summary>dx = gamma·rstd·(dy - sum / count - (x - mean)·rstd²·dot / count): the last two are 0 where no gradient flows
    /// through the statistics.</summary>
    private void GradientOf(int c, in BatchNormGradient g, double sum, double dot, double count)
    {
        var gate = new ReluGate(g.Rstd[c] * g.Gamma[c], g.Beta[c], relu);
        float scale = g.Gamma[c] * g.Rstd[c];
        float slope = (float)(-scale * g.Rstd[c] * g.Rstd[c] * dot / count), shift = (float)(-scale * sum / count);
        for (int b = 0; b < batch; b++)
        {
            float* to = Of(g.Dx, b, c);
            Plane.Gradient(Of(g.Dy, b, c), scale, Of(g.X, b, c), g.Mean[c], slope, shift, to, g.Accumulate, area, gate);
        }
    }

    private readonly struct BackwardJob(
        BatchNorm n, BatchNormGradient g, bool batchStatistics, float* dGamma, float* dBeta) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int c = start; c < end; c++)
            {
                var (sum, dot) = n.SumsOf(c, g);
                if (dBeta != null) dBeta[c] += (float)sum;
                if (dGamma != null) dGamma[c] += (float)(dot * g.Rstd[c]);
                if (g.Dx == null) continue;
                if (batchStatistics) n.GradientOf(c, g, sum, dot, (double)n.batch * n.area);
                else n.GradientOf(c, g, 0, 0, 1);
            }
        }
    }

    private readonly struct SumsJob(BatchNorm n, BatchNormGradient g, double* sums) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int c = start; c < end; c++) (sums[c], sums[n.channels + c]) = n.SumsOf(c, g);
        }
    }

    private readonly struct GradientJob(BatchNorm n, BatchNormGradient g, double* sums, double count) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int c = start; c < end; c++) n.GradientOf(c, g, sums[c], sums[n.channels + c], count);
        }
    }
}

/// <summary>What the backward pass of a batch norm reads and where dx goes.</summary>
internal readonly unsafe struct BatchNormGradient
{
    public required float* X { get; init; }

    public required float* Dy { get; init; }

    public required float* Gamma { get; init; }

    public required float* Beta { get; init; }

    public required float* Mean { get; init; }

    public required float* Rstd { get; init; }

    /// <summary>Null where it is not wanted.</summary>
    public required float* Dx { get; init; }

    /// <summary>Whether dx is added to.</summary>
    public required bool Accumulate { get; init; }
}
