using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>y = |x|, with slope 0 at 0. x of any shape -> y of the same shape.</summary>
public sealed class AbsOp(Tensor x) : UnaryOp(x)
{
    public override string Name => "Abs";

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y) => TensorPrimitives.Abs(x, y);

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d) =>
        BlockMap.Run(default(Sign), x, d);

    private readonly struct Sign : IUnaryMap
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Run<S, V>(V x) where S : ISimd<V> where V : struct =>
            S.SelectLess(S.Zero, x, S.Set(1), S.SelectLess(x, S.Zero, S.Set(-1), S.Zero));
    }
}

public static partial class F
{
    /// <inheritdoc cref="AbsOp"/>
    public static Tensor Abs(Tensor x) => new AbsOp(x).Run();
}
