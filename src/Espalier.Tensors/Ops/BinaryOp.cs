using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// An elementwise function of two tensors under the broadcasting rules of NumPy: shapes are aligned at their last axis, and
/// an extent of 1 (or a missing axis) is repeated. a, b -> y of the joint shape. Gradients are summed over repeats.
/// </summary>
public abstract unsafe class BinaryOp : Op
{
    private readonly Tensor a, b;
    private readonly RowWalk walk;

    protected BinaryOp(Tensor a, Tensor b) : base(a, b)
    {
        (this.a, this.b) = (a, b);
        walk = new RowWalk(RowWalk.Joint(Name, a.Shape, b.Shape), a.Shape, b.Shape);
    }

    public override Shape Result => walk.Shape;

    public override Cost Cost => new(0, sizeof(float) * (a.Length + b.Length + walk.Shape.Length));

    /// <summary>y = f(a, b), number by number. Called for stretches of the tensors, by several threads at once.</summary>
    protected internal abstract void Compute(ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> y);

    /// <summary>The same with one number of b for all.</summary>
    protected abstract void Compute(ReadOnlySpan<float> a, float b, Span<float> y);

    /// <summary>The same with one number of a for all.</summary>
    protected abstract void Compute(float a, ReadOnlySpan<float> b, Span<float> y);

    /// <summary>da = dy ∂y/∂a.</summary>
    protected abstract void GradientA(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> da);

    /// <summary>db = dy ∂y/∂b.</summary>
    protected abstract void GradientB(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> db);

    /// <summary>Whether ∂y/∂b is 1: where b is not repeated, dy then becomes its gradient without a pass over it.</summary>
    protected virtual bool PassesToB => false;

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        walk.For(new ForwardJob(this, y.Data));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (Wants(a)) Backward(a, 0, dy);
        if (!Wants(b)) return;
        if (PassesToB && b.Shape == dy.Shape) PassGrad(b, dy);
        else Backward(b, 1, dy);
    }

    public override void Flow(ChannelFlow flow)
    {
        flow.Broadcast(Output, a);
        flow.Broadcast(Output, b);
        if (this is AddOp or SubOp) flow.Sum(a, b);
    }

    private void Backward(Tensor input, int operand, Tensor dy)
    {
        Tensor d = GradOf(input, out bool accumulate);
        bool reduced = input.Length != dy.Length;
        if (reduced && !accumulate) d.Fill(0);
        var job = new BackwardJob(this, operand, dy.Data, d.Data, accumulate || reduced);
        if (reduced) walk.ForReduced(operand, job);
        else walk.For(job);
    }

    private readonly struct ForwardJob(BinaryOp op, float* y) : IStretchJob
    {
        public void Run(long row, long start, int count)
        {
            RowWalk walk = op.walk;
            Span<float> to = new(y + row * walk.Inner + start, count);
            float* a = op.a.Data + walk.Offset(0, row), b = op.b.Data + walk.Offset(1, row);
            if (!walk.Advances(0)) op.Compute(*a, new ReadOnlySpan<float>(b + start, count), to);
            else if (!walk.Advances(1)) op.Compute(new ReadOnlySpan<float>(a + start, count), *b, to);
            else op.Compute(new ReadOnlySpan<float>(a + start, count), new ReadOnlySpan<float>(b + start, count), to);
        }
    }

    private readonly struct BackwardJob(BinaryOp op, int operand, float* dy, float* gradient, bool accumulate) : IStretchJob
    {
        [SkipLocalsInit]
        public void Run(long row, long start, int count)
        {
            RowWalk walk = op.walk;
            ReadOnlySpan<float> d = new(dy + row * walk.Inner + start, count);
            ReadOnlySpan<float> a = Operand(op.a.Data, 0, row, start, stackalloc float[Blocks.Size], count);
            ReadOnlySpan<float> b = Operand(op.b.Data, 1, row, start, stackalloc float[Blocks.Size], count);
            float* target = gradient + walk.Offset(operand, row);
            bool sum = !walk.Advances(operand);
            if (!accumulate)
            {
                Gradient(a, b, d, new Span<float>(target + start, count));
                return;
            }
            Span<float> part = stackalloc float[count];
            Gradient(a, b, d, part);
            if (sum) *target += TensorPrimitives.Sum<float>(part);
            else
            {
                Span<float> to = new(target + start, count);
                TensorPrimitives.Add(to, part, to);
            }
        }

        private void Gradient(ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> d, Span<float> to)
        {
            if (operand == 0) op.GradientA(a, b, d, to);
            else op.GradientB(a, b, d, to);
        }

        private ReadOnlySpan<float> Operand(float* data, int which, long row, long start, Span<float> scratch, int count)
        {
            float* p = data + op.walk.Offset(which, row);
            if (op.walk.Advances(which)) return new ReadOnlySpan<float>(p + start, count);
            scratch[..count].Fill(*p);
            return scratch[..count];
        }
    }
}
