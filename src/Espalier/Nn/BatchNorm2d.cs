using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>
/// Batch normalisation per channel. x [N, C, H, W] or [N, C] -> the same shape. Parameters <c>weight</c> and <c>bias</c>,
/// buffers <c>running_mean</c> and <c>running_var</c> [C], as in PyTorch, but for its counter of batches, which nothing reads.
/// </summary>
public sealed class BatchNorm2d : Module
{
    private readonly float momentum, epsilon;

    public BatchNorm2d(int channels, float epsilon = 1e-5f, float momentum = 0.1f)
    {
        (this.epsilon, this.momentum) = (epsilon, momentum);
        Weight = Parameter("weight", new Shape(channels));
        Bias = Parameter("bias", new Shape(channels));
        RunningMean = Buffer("running_mean", new Shape(channels));
        RunningVariance = Buffer("running_var", new Shape(channels), 1);
        Weight.Fill(1);
    }

    public Tensor Weight { get; }

    public Tensor Bias { get; }

    public Tensor RunningMean { get; }

    public Tensor RunningVariance { get; }

    /// <exception cref="EspalierException">In training: a batch of one value a channel has no variance.</exception>
    public Tensor Forward(Tensor x) => F.BatchNorm2d(x, Weight, Bias, RunningMean, RunningVariance, Training, momentum, epsilon);
}
