using System.Numerics.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>y = Σ x over some axes, or over all where none is named.</summary>
/// <inheritdoc/>
public class SumOp : ReduceOp
{
    public SumOp(Tensor x, ReadOnlySpan<int> axes, bool keepDims = false) : base(x, axes, keepDims) { }

    public override string Name => "Sum";

    /// <summary>What the sum is multiplied by.</summary>
    private protected virtual float Factor => 1;

    protected override unsafe Tensor Forward()
    {
        Tensor y = Tensor.Zeros(Shape);
        Walk.ForReduced(0, new ForwardJob(Walk, X.Data, y.Data));
        if (Factor != 1) TensorPrimitives.Multiply(y.Span, Factor, y.Span);
        return y;
    }

    protected internal override unsafe void Backward(Tensor dy) =>
        AddGrad(X, dx => Walk.For(new BackwardJob(Walk, dy.Data, dx.Data, Factor)));

    private readonly unsafe struct ForwardJob(RowWalk walk, float* x, float* y) : IStretchJob
    {
        public void Run(long row, long start, int count)
        {
            ReadOnlySpan<float> from = new(x + row * walk.Inner + start, count);
            float* to = y + walk.Offset(0, row);
            Span<float> target = new(to + start, walk.Advances(0) ? count : 0);
            if (walk.Advances(0)) TensorPrimitives.Add(from, target, target);
            else *to += TensorPrimitives.Sum(from);
        }
    }

    private readonly unsafe struct BackwardJob(RowWalk walk, float* dy, float* dx, float factor) : IStretchJob
    {
        public void Run(long row, long start, int count)
        {
            Span<float> to = new(dx + row * walk.Inner + start, count);
            float* from = dy + walk.Offset(0, row);
            if (walk.Advances(0)) TensorPrimitives.Multiply(new ReadOnlySpan<float>(from + start, count), factor, to);
            else to.Fill(*from * factor);
        }
    }
}

public static partial class F
{
    /// <summary>Σ x over the named axes, or over all where none is named.</summary>
    public static Tensor Sum(Tensor x, params ReadOnlySpan<int> axes) => new SumOp(x, axes).Run();

    /// <summary>Σ x over the named axes; with <paramref name="keepDims"/> they stay with an extent of 1.</summary>
    public static Tensor Sum(Tensor x, ReadOnlySpan<int> axes, bool keepDims) => new SumOp(x, axes, keepDims).Run();
}
