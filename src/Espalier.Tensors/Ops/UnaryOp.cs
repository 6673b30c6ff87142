using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>An elementwise function of one tensor. x of any shape -> y of the same shape.</summary>
public abstract unsafe class UnaryOp : Op
{
    private readonly Tensor x;

    protected UnaryOp(Tensor x) : base(x) => this.x = x;

    public override Shape Result => x.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    /// <summary>y = f(x); y may be x. Called for stretches of the tensor, by several threads at once.</summary>
    protected internal abstract void Compute(ReadOnlySpan<float> x, Span<float> y);

    /// <summary>d = dy/dx, from the input and the output.</summary>
    protected abstract void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        Blocks.For(x.Length, new ForwardJob(this, x.Data, y.Data));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        Blocks.For(x.Length, new BackwardJob(this, x.Data, Output.Data, dy.Data, dx.Data, accumulate));
    }

    public override void Flow(ChannelFlow flow) => flow.SameShape(Output, x);

    private readonly struct ForwardJob(UnaryOp op, float* x, float* y) : IBlockJob
    {
        public void Run(long start, int count) =>
            op.Compute(new ReadOnlySpan<float>(x + start, count), new Span<float>(y + start, count));
    }

    private readonly struct BackwardJob(UnaryOp op, float* x, float* y, float* dy, float* dx, bool accumulate) : IBlockJob
    {
        [SkipLocalsInit]
        public void Run(long start, int count)
        {
            Span<float> slope = stackalloc float[Blocks.Size];
            slope = slope[..count];
            op.Derivative(new ReadOnlySpan<float>(x + start, count), new ReadOnlySpan<float>(y + start, count), slope);
            ReadOnlySpan<float> from = new(dy + start, count);
            Span<float> to = new(dx + start, count);
            if (accumulate) TensorPrimitives.MultiplyAdd(from, slope, to, to);
            else TensorPrimitives.Multiply(from, slope, to);
        }
    }
}
