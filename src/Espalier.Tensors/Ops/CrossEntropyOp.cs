using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// loss = 1/N Σ w_n (-Σ q_nk log softmax(z_n)_k), computed through log-sum-exp. Logits z [N, K] -> loss [] (a single value).
/// The target distribution q comes from labels, smoothed as by Szegedy et al. (q = (1 - ε) one-hot + ε/K), or is given whole.
/// The row weights w, 1 where left out, only scale: the divisor stays N.
/// </summary>
public sealed unsafe class CrossEntropyOp : Op
{
    private readonly Tensor logits;
    private readonly Tensor? targets;
    private readonly int[]? labels;
    private readonly float smoothing;
    private readonly float[]? weights;
    private readonly int rows, classes;
    private Tensor? saved; // log softmax(z)

    /// <param name="logits">[N, K].</param>
    /// <param name="labels">[N] classes 0 .. K-1.</param>
    /// <param name="smoothing">ε in [0, 1].</param>
    /// <param name="weights">[N] row weights, or null for ones.</param>
    public CrossEntropyOp(Tensor logits, int[] labels, float smoothing = 0, float[]? weights = null) : this(logits, weights, null)
    {
        if (labels.Length != rows) throw new ArgumentException($"CrossEntropy: {labels.Length} labels for logits {logits.Shape}");
        if (smoothing is not (>= 0 and <= 1))
            throw new ArgumentException($"CrossEntropy: smoothing {smoothing} is not in [0, 1]");
        foreach (int label in labels)
        {
            if ((uint)label >= (uint)classes)
                throw new ArgumentException($"CrossEntropy: label {label} for logits {logits.Shape}");
        }
        (this.labels, this.smoothing) = (labels, smoothing);
    }

    /// <param name="logits">[N, K].</param>
    /// <param name="targets">[N, K] probabilities, constants: no gradient goes to them.</param>
    /// <param name="weights">[N] row weights, or null for ones.</param>
    public CrossEntropyOp(Tensor logits, Tensor targets, float[]? weights = null) : this(logits, weights, targets)
    {
        if (targets.Shape != logits.Shape)
            throw new ArgumentException($"CrossEntropy: targets {targets.Shape} for logits {logits.Shape}");
        if (targets.RequiresGrad)
            throw new ArgumentException("CrossEntropy: the targets are constants; make them outside the recording");
    }

    private CrossEntropyOp(Tensor logits, float[]? weights, Tensor? targets) : base(logits, targets)
    {
        if (logits.Rank != 2 || logits.Length == 0)
            throw new ArgumentException($"CrossEntropy: logits {logits.Shape} must be [N, K]");
        (this.logits, this.targets, this.weights) = (logits, targets, weights);
        (rows, classes) = (logits.Shape[0], logits.Shape[1]);
        if (weights is not null && weights.Length != rows)
            throw new ArgumentException($"CrossEntropy: {weights.Length} weights for logits {logits.Shape}");
    }

    public override string Name => "CrossEntropy";

    public override Shape Result => new();

    public override Cost Cost => new(0, sizeof(float) * (logits.Length + (targets?.Length ?? 0)));

    public override Op On(Tensor?[] operands, RunContext run = default) => labels is null
        ? new CrossEntropyOp(operands[0]!, operands[1]!, weights) : new CrossEntropyOp(operands[0]!, labels, smoothing, weights);

    protected override Tensor Forward()
    {
        var logProbabilities = new Tensor(logits.Shape);
        Softmax.LogForward(logits.Data, logProbabilities.Data, rows, classes);
        double loss = 0;
        for (int n = 0; n < rows; n++) loss += Weight(n) * RowLoss(n, Row(logProbabilities, n));
        if (Differentiated) saved = logProbabilities;
        else logProbabilities.Dispose();
        return Tensor.Scalar((float)(loss / rows));
    }

    protected internal override void Backward(Tensor dy)
    {
        if (Wants(logits)) AddGrad(logits, dz => Gradient(dz, dy.Item() / rows));
    }

    /// <summary>The classes must all stay.</summary>
    public override void Flow(ChannelFlow flow)
    {
        flow.Fix(logits, 1);
        if (targets is not null) flow.Same(logits, 1, targets, 1);
    }

    private double RowLoss(int n, ReadOnlySpan<float> logP)
    {
        if (targets is not null) return -TensorPrimitives.Dot<float>(Row(targets, n), logP);
        double loss = -(1 - smoothing) * logP[labels![n]];
        return smoothing == 0 ? loss : loss - smoothing * TensorPrimitives.Sum(logP) / classes;
    }

    /// <summary>dz = scale · w (softmax(z) Σq - q).</summary>
    private void Gradient(Tensor dz, float scale)
    {
        for (int n = 0; n < rows; n++)
        {
            Span<float> d = Row(dz, n);
            TensorPrimitives.Exp(Row(saved!, n), d);
            if (targets is null)
            {
                if (smoothing != 0) TensorPrimitives.Subtract(d, smoothing / classes, d);
                d[labels![n]] -= 1 - smoothing;
            }
            else
            {
                Span<float> q = Row(targets, n);
                TensorPrimitives.Multiply(d, TensorPrimitives.Sum<float>(q), d);
                TensorPrimitives.Subtract(d, q, d);
            }
            TensorPrimitives.Multiply(d, scale * Weight(n), d);
        }
    }

    private float Weight(int n) => weights is null ? 1 : weights[n];

    private Span<float> Row(Tensor t, int n) => new(t.Data + (long)n * classes, classes);
}

public static partial class F
{
    /// <inheritdoc cref="CrossEntropyOp"/>
    public static Tensor CrossEntropy(Tensor logits, int[] labels, float smoothing = 0, float[]? weights = null) =>
        new CrossEntropyOp(logits, labels, smoothing, weights).Run();

    /// <inheritdoc cref="CrossEntropyOp"/>
    public static Tensor CrossEntropy(Tensor logits, Tensor targets, float[]? weights = null) =>
        new CrossEntropyOp(logits, targets, weights).Run();
}
