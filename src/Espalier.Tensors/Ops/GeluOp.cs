using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// y = x Φ(x), Φ the normal distribution: GELU by the error function (Hendrycks and Gimpel 2016). x of any shape -> y of the
/// same shape. A linear layer can do it in the product's store instead.
/// </summary>
public sealed unsafe class GeluOp(Tensor x) : Op(x)
{
    public override string Name => "Gelu";

    public override Shape Result => x.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        Gelu.Forward(x.Data, y.Data, (nint)x.Length);
        return y;
    }

    protected internal override void Backward(Tensor dy) =>
        AddGrad(x, dx => Gelu.Backward(x.Data, dy.Data, dx.Data, (nint)dy.Length));

    public override void Flow(ChannelFlow flow) => flow.SameShape(Output, x);
}

public static partial class F
{
    /// <inheritdoc cref="GeluOp"/>
    public static Tensor Gelu(Tensor x) => new GeluOp(x).Run();
}
