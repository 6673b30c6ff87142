using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>softmax(x) over the last axis. x [.., K] -> y [.., K].</summary>
public sealed unsafe class SoftmaxOp : Op
{
    private readonly Tensor x;
    private readonly int rows, width;

    public SoftmaxOp(Tensor x) : base(x)
    {
        if (x.Rank == 0 || x.Shape[-1] == 0) throw new ArgumentException($"Softmax: x {x.Shape} has no last axis to go over");
        (this.x, width) = (x, x.Shape[-1]);
        rows = checked((int)(x.Length / width));
    }

    public override string Name => "Softmax";

    public override Shape Result => x.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        Softmax.Forward(x.Data, y.Data, rows, width);
        return y;
    }

    protected internal override void Backward(Tensor dy) =>
        AddGrad(x, dx => Softmax.Backward(Output.Data, dy.Data, dx.Data, rows, width));

    /// <summary>Leaving out an entry of the last axis changes all others: they must all stay.</summary>
    public override void Flow(ChannelFlow flow)
    {
        flow.SameShape(Output, x);
        flow.Fix(x, -1);
    }
}

public static partial class F
{
    /// <inheritdoc cref="SoftmaxOp"/>
    public static Tensor Softmax(Tensor x) => new SoftmaxOp(x).Run();
}
