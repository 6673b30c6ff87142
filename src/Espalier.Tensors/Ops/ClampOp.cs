using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// y = min(max(x, low), high); the slope is 1 from low to high and 0 outside. x of any shape -> y of the same shape.
/// </summary>
public sealed class ClampOp(Tensor x, float low, float high) : UnaryOp(x)
{
    public override string Name => "Clamp";

    public float Low => low;

    public float High => high;

    protected override void Save(OpSettings settings) => settings.Set("low", low).Set("high", high);

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y)
    {
        TensorPrimitives.Max(x, low, y);
        TensorPrimitives.Min(y, high, y);
    }

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d) =>
        BlockMap.Run(new Within(low, high), x, d);

    private readonly struct Within(float low, float high) : IUnaryMap
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Run<S, V>(V x) where S : ISimd<V> where V : struct =>
            S.SelectLess(x, S.Set(low), S.Zero, S.SelectLess(S.Set(high), x, S.Zero, S.Set(1)));
    }
}

public static partial class F
{
    /// <inheritdoc cref="ClampOp"/>
    public static Tensor Clamp(Tensor x, float low, float high) => new ClampOp(x, low, high).Run();
}
