using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// y = max of x over some axes, or over all where none is named. Where several elements are the largest, the gradient is
/// shared equally between them.
/// </summary>
/// <inheritdoc/>
public sealed unsafe class MaxOp : ReduceOp
{
    public MaxOp(Tensor x, ReadOnlySpan<int> axes, bool keepDims = false) : base(x, axes, keepDims)
    {
        if (Count == 0) throw new ArgumentException($"Max: nothing to take the maximum of in x {x.Shape}");
    }

    public override string Name => "Max";

    protected override Tensor Forward()
    {
        Tensor y = Tensor.Full(Shape, float.NegativeInfinity);
        Walk.ForReduced(0, new ForwardJob(Walk, X.Data, y.Data));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        using Tensor share = Tensor.Zeros(Shape);
        Walk.ForReduced(0, new CountJob(Walk, X.Data, Output.Data, share.Data));
        TensorPrimitives.Divide(dy.Span, share.Span, share.Span);
        AddGrad(X, dx => Walk.For(new BackwardJob(Walk, X.Data, Output.Data, share.Data, dx.Data)));
    }

    /// <summary>Leaving out an entry of a reduced axis may change the maximum: they must all stay.</summary>
    public override void Flow(ChannelFlow flow)
    {
        base.Flow(flow);
        foreach (int axis in Axes) flow.Fix(X, axis);
    }

    private readonly struct ForwardJob(RowWalk walk, float* x, float* y) : IStretchJob
    {
        public void Run(long row, long start, int count)
        {
            ReadOnlySpan<float> from = new(x + row * walk.Inner + start, count);
            float* to = y + walk.Offset(0, row);
            Span<float> target = new(to + start, walk.Advances(0) ? count : 0);
            if (walk.Advances(0)) TensorPrimitives.Max(from, target, target);
            else *to = MathF.Max(*to, TensorPrimitives.Max(from));
        }
    }

    /// <summary>Adds up how often the maximum occurs.</summary>
    private readonly struct CountJob(RowWalk walk, float* x, float* y, float* occurrences) : IStretchJob
    {
        [SkipLocalsInit]
        public void Run(long row, long start, int count)
        {
            Span<float> isMax = stackalloc float[Blocks.Size];
            isMax = isMax[..count];
            IsMax(walk, x, y, row, start, isMax);
            float* to = occurrences + walk.Offset(0, row);
            Span<float> target = new(to + start, walk.Advances(0) ? count : 0);
            if (walk.Advances(0)) TensorPrimitives.Add(isMax, target, target);
            else *to += TensorPrimitives.Sum<float>(isMax);
        }
    }

    private readonly struct BackwardJob(RowWalk walk, float* x, float* y, float* share, float* dx) : IStretchJob
    {
        public void Run(long row, long start, int count)
        {
            Span<float> to = new(dx + row * walk.Inner + start, count);
            IsMax(walk, x, y, row, start, to);
            float* from = share + walk.Offset(0, row);
            if (walk.Advances(0)) TensorPrimitives.Multiply(to, new ReadOnlySpan<float>(from + start, to.Length), to);
            else TensorPrimitives.Multiply(to, *from, to);
        }
    }

    /// <summary>1 where x is the maximum, else 0.</summary>
    private static void IsMax(RowWalk walk, float* x, float* y, long row, long start, Span<float> isMax)
    {
        ReadOnlySpan<float> from = new(x + row * walk.Inner + start, isMax.Length);
        float* max = y + walk.Offset(0, row);
        if (walk.Advances(0)) new ReadOnlySpan<float>(max + start, isMax.Length).CopyTo(isMax);
        else isMax.Fill(*max);
        BlockMap.Run(default(NotLess), from, isMax, isMax);
    }

    private readonly struct NotLess : IBinaryMap
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Run<S, V>(V x, V y) where S : ISimd<V> where V : struct => S.SelectLess(x, y, S.Zero, S.Set(1));
    }
}

public static partial class F
{
    /// <summary>The maximum of x over the named axes, or over all where none is named.</summary>
    public static Tensor Max(Tensor x, params ReadOnlySpan<int> axes) => new MaxOp(x, axes).Run();

    /// <summary>The maximum of x over the named axes; with <paramref name="keepDims"/> they stay with an extent of 1.</summary>
    public static Tensor Max(Tensor x, ReadOnlySpan<int> axes, bool keepDims) => new MaxOp(x, axes, keepDims).Run();
}
