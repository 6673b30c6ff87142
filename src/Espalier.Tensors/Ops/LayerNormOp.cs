using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// y = (x - mean) / sqrt(variance + eps) · gamma + beta over the last axis. x [.., D], gamma and beta [D]. Where channels were
/// removed since training the statistics go on to be of the width of that time, the removed channels counting as the zeros that
/// they are: so the smaller network gives what the masked one gives.
/// </summary>
public sealed unsafe class LayerNormOp : Op
{
    private readonly Tensor x, gamma, beta;
    private readonly float epsilon;
    private readonly int rows = 1, width, trained;
    private Tensor? mean, rstd;

    /// <param name="trainedWidth">Values that mean and variance are of, at least D; 0 stands for D.</param>
    public LayerNormOp(Tensor x, Tensor gamma, Tensor beta, float epsilon, int trainedWidth = 0) : base(x, gamma, beta)
    {
        if (x.Rank == 0 || gamma.Shape != new Shape(x.Shape[-1]) || beta.Shape != gamma.Shape)
            throw new ArgumentException($"LayerNorm: x {x.Shape}, gamma {gamma.Shape}, beta {beta.Shape} must be [.., D], [D], [D]");
        (this.x, this.gamma, this.beta, this.epsilon) = (x, gamma, beta, epsilon);
        width = x.Shape[-1];
        trained = trainedWidth == 0 ? width : trainedWidth;
        if (trained < width) throw new ArgumentException($"LayerNorm: x {x.Shape} is wider than the {trained} channels of the training");
        for (int i = 0; i < x.Rank - 1; i++) rows = checked(rows * x.Shape[i]);
    }

    public override string Name => "LayerNorm";

    public float Epsilon => epsilon;

    /// <summary>Values that mean and variance are of; more than the last axis has where channels were removed.</summary>
    public int TrainedWidth => trained;

    public override Shape Result => x.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2L * rows * width);

    protected override void Save(OpSettings settings) => settings.Set("epsilon", epsilon).Set("width", trained);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        if (Differentiated)
        {
            mean = new Tensor(new Shape(rows));
            rstd = new Tensor(new Shape(rows));
        }
        LayerNorm.Forward(x.Data, gamma.Data, beta.Data, epsilon, rows, width, y.Data,
            mean is null ? null : mean.Data, rstd is null ? null : rstd.Data, trained);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        bool addX = false, addGamma = false, addBeta = false;
        Tensor? dx = Wants(x) ? GradOf(x, out addX) : null;
        Tensor? dGamma = Wants(gamma) ? GradOf(gamma, out addGamma) : null;
        Tensor? dBeta = Wants(beta) ? GradOf(beta, out addBeta) : null;
        if (dGamma is not null && !addGamma) dGamma.Fill(0);
        if (dBeta is not null && !addBeta) dBeta.Fill(0);
        LayerNorm.Backward(x.Data, gamma.Data, mean!.Data, rstd!.Data, dy.Data, rows, width,
            dx is null ? null : dx.Data, addX, dGamma is null ? null : dGamma.Data, dBeta is null ? null : dBeta.Data, trained);
    }

    public override void Flow(ChannelFlow flow)
    {
        for (int i = 1; i < x.Rank; i++) flow.Same(Output, i, x, i);
        flow.Same(Output, -1, gamma, 0, ChannelRole.Scale);
        flow.Same(Output, -1, beta, 0, ChannelRole.NormShift);
    }
}

public static partial class F
{
    /// <inheritdoc cref="LayerNormOp"/>
    public static Tensor LayerNorm(Tensor x, Tensor gamma, Tensor beta, float epsilon, int trainedWidth = 0) =>
        new LayerNormOp(x, gamma, beta, epsilon, trainedWidth).Run();
}
