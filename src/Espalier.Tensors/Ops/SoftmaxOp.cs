using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>softmax(x) over the last axis. x [.., K] -> y [.., K].</summary>
public sealed unsafe class SoftmaxOp : Op
{
    private readonly Tensor x;
    private readonly int width;

    public SoftmaxOp(Tensor x) : base(x)
    {
        if (x.Rank == 0 || x.Shape[-1] == 0) throw new ArgumentException($"Softmax: x {x.Shape} has no last axis to go over");
        (this.x, width) = (x, x.Shape[-1]);
    }

    public override string Name => "Softmax";

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    protected override Tensor Forward()
    {
        var y = new Tensor(x.Shape);
        Rows.For(x.Length / width, width, new ForwardJob(x.Data, y.Data, width));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        AddGrad(x, dx => Rows.For(x.Length / width, width, new BackwardJob(Output.Data, dy.Data, dx.Data, width)));
    }

    /// <summary>Leaving out an entry of the last axis changes all others: they must all stay.</summary>
    public override void Flow(ChannelFlow flow)
    {
        flow.SameShape(Output, x);
        flow.Fix(x, -1);
    }

    private readonly struct ForwardJob(float* x, float* y, int width) : IRowJob
    {
        public void Run(long row)
        {
            Span<float> p = new(y + row * width, width);
            float sum = Exponentials.Run(new ReadOnlySpan<float>(x + row * width, width), p, out _);
            TensorPrimitives.Multiply(p, 1 / sum, p);
        }
    }

    /// <summary>dx = y (dy - Σ y dy).</summary>
    private readonly struct BackwardJob(float* y, float* dy, float* dx, int width) : IRowJob
    {
        public void Run(long row)
        {
            ReadOnlySpan<float> p = new(y + row * width, width), dp = new(dy + row * width, width);
            Span<float> d = new(dx + row * width, width);
            TensorPrimitives.Subtract(dp, TensorPrimitives.Dot(p, dp), d);
            TensorPrimitives.Multiply(d, p, d);
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="SoftmaxOp"/>
    public static Tensor Softmax(Tensor x) => new SoftmaxOp(x).Run();
}
