using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// y = x Wᵀ + b, then optionally GELU, then optionally + residual, fused into the matrix product's store.
/// x [.., in], W [out, in], b [out], residual [.., out] -> y [.., out].
/// </summary>
public sealed unsafe class LinearOp : Op
{
    private readonly Tensor x, weight;
    private readonly Tensor? bias, residual;
    private readonly bool gelu;
    private readonly int rows = 1, inputs, outputs;
    private readonly DotTile? rounded = ProductPrecision.Tile;
    private Tensor? preActivation;

    public LinearOp(Tensor x, Tensor weight, Tensor? bias, Tensor? residual = null, bool gelu = false)
        : base(x, weight, bias, residual)
    {
        if (x.Rank == 0 || weight.Rank != 2 || x.Shape[-1] != weight.Shape[1])
            throw new ArgumentException($"Linear: x {x.Shape} and weight {weight.Shape} must be [.., in] and [out, in]");
        if (bias is not null && (bias.Rank != 1 || bias.Shape[0] != weight.Shape[0]))
            throw new ArgumentException($"Linear: bias {bias.Shape} for weight {weight.Shape}");
        (this.x, this.weight, this.bias, this.residual, this.gelu) = (x, weight, bias, residual, gelu);
        (inputs, outputs) = (weight.Shape[1], weight.Shape[0]);
        for (int i = 0; i < x.Rank - 1; i++) rows = checked(rows * x.Shape[i]);
        if (residual is not null && residual.Shape != Result)
            throw new ArgumentException($"Linear: residual {residual.Shape} for an output {Result}");
    }

    public override string Name => "Linear";

    public Tensor? Bias => bias;

    public Tensor? Residual => residual;

    /// <summary>Whether GELU follows the bias, before the residual is added.</summary>
    public bool Gelu => gelu;

    public override Shape Result => x.Shape.With(-1, outputs);

    public override Cost Cost =>
        new((long)rows * inputs * outputs, sizeof(float) * ((long)rows * (inputs + outputs) + (long)inputs * outputs));

    protected override void Save(OpSettings settings) => settings.Set("gelu", gelu);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        if (gelu && Differentiated) preActivation = new Tensor(y.Shape);
        var epilogue = new Epilogue
        {
            Bias = bias is null ? null : bias.Data,
            Gelu = gelu,
            PreActivation = preActivation is null ? null : preActivation.Data,
            Residual = residual is null ? null : residual.Data,
            LdResidual = outputs,
        };
        Gemm.Run(rounded, false, true, rows, outputs, inputs, x.Data, inputs, weight.Data, inputs, y.Data, outputs, epilogue);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        bool addBias = false;
        Tensor? db = Wants(bias) ? GradOf(bias!, out addBias) : null;
        float* sums = db is null ? null : db.Data;
        Tensor dz = dy;
        if (preActivation is null)
        {
            if (db is not null) ColumnSums.Run(dz.Data, outputs, rows, outputs, sums, addBias);
        }
        else
        {
            // In dy's own memory, unless the residual is to have that.
            if (Wants(residual)) dz = new Tensor(dy.Shape);
            Kernels.Gelu.BackwardRows(preActivation.Data, dy.Data, dz.Data, rows, outputs, sums, addBias);
        }
        if (Wants(x))
        {
            Tensor dx = GradOf(x, out bool accumulate);
            Gemm.Run(rounded, false, false, rows, inputs, outputs, dz.Data, outputs, weight.Data, inputs, dx.Data, inputs,
                new Epilogue { Accumulate = accumulate });
        }
        if (Wants(weight))
        {
            Tensor dw = GradOf(weight, out bool accumulate);
            Gemm.Run(rounded, true, false, outputs, inputs, rows, dz.Data, outputs, x.Data, inputs, dw.Data, inputs,
                new Epilogue { Accumulate = accumulate });
        }
        if (dz != dy) dz.Dispose();
        if (Wants(residual)) PassGrad(residual!, dy);
    }

    /// <summary>y's channels are W's rows, b's entries and the residual's channels; x's channels are W's columns.</summary>
    public override void Flow(ChannelFlow flow)
    {
        flow.Same(Output, -1, weight, 0, ChannelRole.Producer);
        flow.Same(x, -1, weight, 1, ChannelRole.Consumer);
        if (bias is not null) flow.Same(Output, -1, bias, 0, ChannelRole.Bias);
        flow.Work(weight, 0);
        flow.Work(weight, 1);
        for (int i = 1; i < x.Rank - 1; i++) flow.Same(Output, i, x, i);
        if (residual is null) return;
        for (int i = 1; i < x.Rank; i++) flow.Same(Output, i, residual, i);
        flow.Sum(Output, residual);
    }
}

public static partial class F
{
    /// <inheritdoc cref="LinearOp"/>
    public static Tensor Linear(Tensor x, Tensor weight, Tensor? bias = null, Tensor? residual = null, bool gelu = false) =>
        new LinearOp(x, weight, bias, residual, gelu).Run();
}
