using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>x + y.</summary>
internal readonly struct AddMap : IBinaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x, V y) where S : ISimd<V> where V : struct => S.Add(x, y);
}

/// <summary>x * y.</summary>
internal readonly struct MultiplyMap : IBinaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x, V y) where S : ISimd<V> where V : struct => S.Mul(x, y);
}

/// <summary>a * x + b.</summary>
internal readonly struct AffineMap(float a, float b) : IUnaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x) where S : ISimd<V> where V : struct => S.Fma(S.Set(a), x, S.Set(b));
}

/// <summary>a * x + y; with z the same memory as y, y += a * x.</summary>
internal readonly struct ScaleAddMap(float a) : IBinaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x, V y) where S : ISimd<V> where V : struct => S.Fma(S.Set(a), x, y);
}

/// <summary>a * x + b * y: weighted means, exponential averages.</summary>
internal readonly struct BlendMap(float a, float b) : IBinaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x, V y) where S : ISimd<V> where V : struct => S.Fma(S.Set(a), x, S.Mul(S.Set(b), y));
}

/// <summary>max(x, 0); NaN stays NaN.</summary>
internal readonly struct ReluMap : IUnaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x) where S : ISimd<V> where V : struct => S.Max(S.Zero, x);
}

/// <summary>From ReLU's input or output x and the gradient of its output: dy where x &gt; 0, else 0.</summary>
internal readonly struct ReluBackwardMap : IBinaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x, V dy) where S : ISimd<V> where V : struct => S.SelectLess(S.Zero, x, dy, S.Zero);
}
