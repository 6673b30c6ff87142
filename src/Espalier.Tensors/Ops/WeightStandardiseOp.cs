using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>How a standardised weight keeps clear of a division by zero; published models differ.</summary>
public enum WeightStandardisation
{
    /// <summary>w' = (w - mean) / (std + 1e-5): the JAX reference of ViT and Big Transfer.</summary>
    Google,

    /// <summary>w' = (w - mean) / sqrt(variance + 1e-5): the PyTorch port that APT builds on.</summary>
    Jeonsworld,

    /// <summary>w' = (w - mean) / sqrt(variance + 1e-8): timm.</summary>
    Timm,
}

/// <summary>
/// Brings each output channel of a weight to mean 0 and population standard deviation 1 (Qiao et al., arXiv 1903.10520).
/// w [O, ...] -> the same shape.
/// </summary>
public sealed unsafe class WeightStandardiseOp : Op
{
    private readonly Tensor w;
    private readonly int rows, width;
    private readonly WeightStandardisation variant;
    private readonly bool epsilonOnStd;
    private readonly float epsilon;

    public WeightStandardiseOp(Tensor w, WeightStandardisation variant) : base(w)
    {
        if (w.Rank < 2 || w.Length == 0)
            throw new ArgumentException($"WeightStandardise: w {w.Shape} must be [O, ...] and not empty");
        (this.w, rows, width) = (w, w.Shape[0], checked((int)(w.Length / w.Shape[0])));
        this.variant = variant;
        epsilonOnStd = variant == WeightStandardisation.Google;
        epsilon = variant == WeightStandardisation.Timm ? 1e-8f : 1e-5f;
    }

    public override string Name => "WeightStandardise";

    public override Shape Result => w.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * w.Length);

    protected override void Save(OpSettings settings) => settings.Set("variant", variant);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        StandardiseRows.Forward(w.Data, rows, width, epsilonOnStd, epsilon, y.Data);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dw = GradOf(w, out bool accumulate);
        StandardiseRows.Backward(w.Data, dy.Data, rows, width, epsilonOnStd, epsilon, dw.Data, accumulate);
    }

    /// <summary>Output channels stand alone; the statistics run over all inputs, so that removing one changes the rest.</summary>
    public override void Flow(ChannelFlow flow)
    {
        flow.Same(Output, 0, w, 0);
        flow.Same(Output, 1, w, 1);
        flow.Mix(w, 1);
    }
}

public static partial class F
{
    /// <inheritdoc cref="WeightStandardiseOp"/>
    public static Tensor WeightStandardise(Tensor w, WeightStandardisation variant) => new WeightStandardiseOp(w, variant).Run();
}
