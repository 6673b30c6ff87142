using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>y = max(x, 0). x of any shape -> y of the same shape.</summary>
public sealed class ReluOp(Tensor x) : UnaryOp(x)
{
    public override string Name => "Relu";

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y) => TensorPrimitives.Max(x, 0, y);

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d) =>
        BlockMap.Run(default(Step), x, d);

    // 1 for x > 0, else 0.
    private readonly struct Step : IUnaryMap
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Run<S, V>(V x) where S : ISimd<V> where V : struct =>
            S.SelectLess(S.Zero, x, S.Set(1), S.Zero);
    }
}

public static partial class F
{
    /// <inheritdoc cref="ReluOp"/>
    public static Tensor Relu(Tensor x) => new ReluOp(x).Run();
}
