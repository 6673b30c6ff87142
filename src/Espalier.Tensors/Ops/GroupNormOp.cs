using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// y = (x - mean) / sqrt(variance + eps) · gamma + beta, mean and variance over the pixels of C/groups neighbouring channels of
/// one image (Wu and He, arXiv 1803.08494). x [N, C, H, W], gamma and beta [C].
/// </summary>
public sealed unsafe class GroupNormOp : Op
{
    private readonly Tensor x, gamma, beta;
    private readonly GroupNorm kernel;
    private readonly int channels;
    private Tensor? mean, rstd;

    public GroupNormOp(Tensor x, Tensor gamma, Tensor beta, int groups, float epsilon = 1e-5f) : base(x, gamma, beta)
    {
        if (x.Rank != 4 || gamma.Shape != new Shape(x.Shape[1]) || beta.Shape != gamma.Shape)
            throw new ArgumentException(
                $"GroupNorm: x {x.Shape}, gamma {gamma.Shape}, beta {beta.Shape} must be [N, C, H, W], [C], [C]");
        if (groups < 1 || x.Shape[1] % groups != 0)
            throw new ArgumentException($"GroupNorm: the channels of x {x.Shape} do not divide into {groups} groups");
        (this.x, this.gamma, this.beta, Groups, Epsilon, channels) = (x, gamma, beta, groups, epsilon, x.Shape[1]);
        kernel = new GroupNorm(x.Shape[0], channels, groups, x.Shape[2] * x.Shape[3]);
    }

    /// <param name="size">Channels of a group.</param>
    internal static GroupNormOp Of(Tensor x, Tensor gamma, Tensor beta, int size, float epsilon) =>
        size > 0 && x.Rank == 4 && x.Shape[1] % size == 0 ? new GroupNormOp(x, gamma, beta, x.Shape[1] / size, epsilon)
            : throw new ArgumentException($"GroupNorm: the channels of x {x.Shape} do not divide into groups of {size}");

    public override string Name => "GroupNorm";

    public int Groups { get; }

    public float Epsilon { get; }

    public override Shape Result => x.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    /// <summary>The size of a group stays: channels may be fewer by whole groups.</summary>
    protected override void Save(OpSettings settings) => settings.Set("size", channels / Groups).Set("epsilon", Epsilon);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        mean = new Tensor(new Shape(x.Shape[0], Groups));
        rstd = new Tensor(new Shape(x.Shape[0], Groups));
        kernel.Forward(x.Data, gamma.Data, beta.Data, Epsilon, y.Data, mean.Data, rstd.Data);
        if (Differentiated) return y;
        mean.Dispose();
        rstd.Dispose();
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (Wants(x))
        {
            Tensor dx = GradOf(x, out bool accumulate);
            kernel.BackwardInput(x.Data, dy.Data, gamma.Data, mean!.Data, rstd!.Data, dx.Data, accumulate);
        }
        bool addGamma = false, addBeta = false;
        Tensor? dGamma = Wants(gamma) ? GradOf(gamma, out addGamma) : null;
        Tensor? dBeta = Wants(beta) ? GradOf(beta, out addBeta) : null;
        if (!addGamma) dGamma?.Fill(0);
        if (!addBeta) dBeta?.Fill(0);
        if (dGamma is null && dBeta is null) return;
        kernel.BackwardScale(x.Data, dy.Data, mean!.Data, rstd!.Data,
            dGamma is null ? null : dGamma.Data, dBeta is null ? null : dBeta.Data);
    }

    /// <summary>Channels go by whole groups, which leaves the statistics of the other groups as they are.</summary>
    public override void Flow(ChannelFlow flow)
    {
        int size = channels / Groups;
        flow.Couple(Output, 1, 0, size, x, 1, 0, size, Groups);
        flow.Couple(Output, 1, 0, size, gamma, 0, 0, size, Groups);
        flow.Couple(Output, 1, 0, size, beta, 0, 0, size, Groups);
        flow.Role(gamma, 0, ChannelRole.Scale);
        flow.Role(beta, 0, ChannelRole.NormShift);
    }
}

public static partial class F
{
    /// <inheritdoc cref="GroupNormOp"/>
    public static Tensor GroupNorm(Tensor x, Tensor gamma, Tensor beta, int groups, float epsilon = 1e-5f) =>
        new GroupNormOp(x, gamma, beta, groups, epsilon).Run();
}
