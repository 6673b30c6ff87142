using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>y = max(x, 0). x of any shape -> y of the same shape.</summary>
public sealed unsafe class ReluOp(Tensor x) : UnaryOp(x)
{
    private readonly Tensor x = x;

    public override string Name => "Relu";

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y) => TensorPrimitives.Max(x, 0, y);

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d)
    {
        for (int i = 0; i < d.Length; i++) d[i] = y[i] > 0 ? 1 : 0;
    }

    // In one pass. dy is used up: its memory becomes dx where that has none.
    protected internal override void Backward(Tensor dy)
    {
        Map.Binary(default(Gate), Output.Data, dy.Data, dy.Data, (nint)dy.Length);
        PassGrad(x, dy);
    }

    // dy where y > 0, else 0.
    private readonly struct Gate : IBinaryMap
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Run<S, V>(V y, V dy) where S : ISimd<V> where V : struct => S.SelectLess(S.Zero, y, dy, S.Zero);
    }
}

public static partial class F
{
    /// <inheritdoc cref="ReluOp"/>
    public static Tensor Relu(Tensor x) => new ReluOp(x).Run();
}
