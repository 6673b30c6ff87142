using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// y = (x - mean) / sqrt(variance + eps) · gamma + beta per channel. x [N, C, H, W] (or [N, C]); the others [C].
/// Training: mean and population variance of the batch, and running = (1 - momentum)·running + momentum·batch, the running
/// variance taking the unbiased one, as in PyTorch. Otherwise the running statistics (Ioffe and Szegedy, arXiv 1502.03167). Where
/// several processes have a part of the batch each, statistics and their gradients are of all parts, of whatever sizes.
/// </summary>
public sealed unsafe class BatchNorm2dOp : Op
{
    private readonly Tensor x, gamma, beta, runningMean, runningVariance;
    private readonly int channels;
    private readonly long count;
    private readonly float momentum;
    private Tensor? mean, rstd;
    private double total;

    /// <param name="runningMean">[C], updated in training.</param>
    /// <param name="runningVariance">[C], updated in training.</param>
    public BatchNorm2dOp(
        Tensor x, Tensor gamma, Tensor beta, Tensor runningMean, Tensor runningVariance,
        bool training, float momentum = 0.1f, float epsilon = 1e-5f)
        : base(x, gamma, beta, runningMean, runningVariance)
    {
        if (x.Rank is not (2 or 4)) throw new ArgumentException($"BatchNorm2d: x {x.Shape} must be [N, C, H, W] or [N, C]");
        channels = x.Shape[1];
        foreach (Tensor t in (ReadOnlySpan<Tensor>)[gamma, beta, runningMean, runningVariance])
            if (t.Shape != new Shape(channels))
                throw new ArgumentException(
                    $"BatchNorm2d: gamma {gamma.Shape}, beta {beta.Shape}, running mean {runningMean.Shape} and "
                    + $"running variance {runningVariance.Shape} must be [{channels}] for x {x.Shape}");
        count = channels == 0 ? 0 : x.Length / channels;
        (this.x, this.gamma, this.beta, this.runningMean, this.runningVariance) = (x, gamma, beta, runningMean, runningVariance);
        (Training, this.momentum, Epsilon) = (training, momentum, epsilon);
    }

    public override string Name => "BatchNorm2d";

    public bool Training { get; }

    public float Epsilon { get; }

    /// <summary>Whether the result is max(y, 0): the ReLU behind it, which a training graph does in the same passes.</summary>
    internal bool Relu { get; init; }

    /// <summary>See <see cref="RunContext.SumOverRanks"/>.</summary>
    internal Action<double[]>? SumOverRanks { get; init; }

    /// <summary>Whether the running statistics have this batch in them already.</summary>
    internal bool Noted { get; init; }

    private BatchNorm Kernel => new(x.Shape[0], channels, x.Rank == 4 ? x.Shape[2] * x.Shape[3] : 1, Relu);

    public override Shape Result => x.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    /// <summary>In training with the statistics of the batch, whatever this op used; where they are to stay still, with the running
    /// ones.</summary>
    public override Op On(Tensor?[] operands, RunContext run = default) => new BatchNorm2dOp(operands[0]!, operands[1]!, operands[2]!,
        operands[3]!, operands[4]!, run.Training && run.Still?.Contains(operands[3]!) != true, momentum, Epsilon)
    {
        Relu = Relu, Noted = run.Again, SumOverRanks = run.SumOverRanks,
    };

    /// <summary>The same with the ReLU that follows.</summary>
    internal BatchNorm2dOp WithRelu() =>
        new(x, gamma, beta, runningMean, runningVariance, Training, momentum, Epsilon) { Relu = true };

    protected override void Save(OpSettings settings)
    {
        settings.Set("momentum", momentum).Set("epsilon", Epsilon);
        if (Relu) settings.Set("relu", true);
    }

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        mean = new Tensor(new Shape(channels));
        rstd = new Tensor(new Shape(channels));
        if (Training)
        {
            Kernel.Moments(x.Data, mean.Data, rstd.Data);
            total = count;
            if (SumOverRanks is not null) Join();
            if (total < 2)
                throw new EspalierException($"batch norm cannot learn from one value a channel, {x.Shape}; "
                    + "choose larger batches or images");
            if (!Noted) Note();
        }
        else
        {
            mean.CopyFrom(runningMean);
            rstd.CopyFrom(runningVariance);
        }
        for (int c = 0; c < channels; c++) rstd.Data[c] = (float)(1 / Math.Sqrt(rstd.Data[c] + (double)Epsilon));
        Kernel.Forward(x.Data, gamma.Data, beta.Data, mean.Data, rstd.Data, y.Data);
        if (Differentiated) return y;
        mean.Dispose();
        rstd.Dispose();
        return y;
    }

    /// <summary>Mean and variance of all parts from those of each: sums of x and of x², in double precision, so that no part's
    /// digits are lost where its mean is large.</summary>
    private void Join()
    {
        double[] sums = new double[2 * channels + 1];
        for (int c = 0; c < channels; c++)
        {
            double m = mean!.Data[c];
            sums[c] = count * m;
            sums[channels + c] = count * (rstd!.Data[c] + m * m);
        }
        sums[^1] = count;
        SumOverRanks!(sums);
        total = sums[^1];
        for (int c = 0; c < channels; c++)
        {
            double m = sums[c] / total;
            mean!.Data[c] = (float)m;
            rstd!.Data[c] = (float)Math.Max(0, sums[channels + c] / total - m * m);
        }
    }

    private void Note()
    {
        float unbiased = (float)(total / (total - 1));
        for (int c = 0; c < channels; c++)
        {
            runningMean.Data[c] += momentum * (mean!.Data[c] - runningMean.Data[c]);
            runningVariance.Data[c] += momentum * (rstd!.Data[c] * unbiased - runningVariance.Data[c]);
        }
    }

    protected internal override void Backward(Tensor dy)
    {
        bool addX = false, addGamma = false, addBeta = false;
        Tensor? dx = Wants(x) ? GradOf(x, out addX) : null;
        Tensor? dGamma = Wants(gamma) ? GradOf(gamma, out addGamma) : null;
        Tensor? dBeta = Wants(beta) ? GradOf(beta, out addBeta) : null;
        if (!addGamma) dGamma?.Fill(0);
        if (!addBeta) dBeta?.Fill(0);
        var gradient = new BatchNormGradient
        {
            X = x.Data, Dy = dy.Data, Gamma = gamma.Data, Beta = beta.Data, Mean = mean!.Data, Rstd = rstd!.Data,
            Dx = dx is null ? null : dx.Data, Accumulate = addX,
        };
        if (Training && SumOverRanks is not null) BackwardJoined(gradient, dGamma, dBeta);
        else Kernel.Backward(gradient, Training, dGamma is null ? null : dGamma.Data, dBeta is null ? null : dBeta.Data);
    }

    /// <summary>Gradients of the weights are of this part: their sum is made with those of all others. That of x goes through
    /// statistics of all parts.</summary>
    private void BackwardJoined(in BatchNormGradient gradient, Tensor? dGamma, Tensor? dBeta)
    {
        double[] sums = new double[2 * channels];
        fixed (double* all = sums) Kernel.GradientSums(gradient, all);
        for (int c = 0; c < channels; c++)
        {
            if (dBeta is not null) dBeta.Data[c] += (float)sums[c];
            if (dGamma is not null) dGamma.Data[c] += (float)(sums[channels + c] * rstd!.Data[c]);
        }
        SumOverRanks!(sums);
        fixed (double* all = sums)
            if (gradient.Dx != null) Kernel.Gradient(gradient, all, total);
    }

    public override void Flow(ChannelFlow flow)
    {
        flow.Same(Output, 1, x, 1);
        flow.Same(Output, 1, gamma, 0, ChannelRole.Scale);
        flow.Same(Output, 1, beta, 0, ChannelRole.NormShift);
        flow.Same(Output, 1, runningMean, 0, ChannelRole.RunningMean);
        flow.Same(Output, 1, runningVariance, 0, ChannelRole.RunningVariance);
    }
}

public static partial class F
{
    /// <inheritdoc cref="BatchNorm2dOp"/>
    public static Tensor BatchNorm2d(
        Tensor x, Tensor gamma, Tensor beta, Tensor runningMean, Tensor runningVariance,
        bool training, float momentum = 0.1f, float epsilon = 1e-5f) =>
        new BatchNorm2dOp(x, gamma, beta, runningMean, runningVariance, training, momentum, epsilon).Run();
}
