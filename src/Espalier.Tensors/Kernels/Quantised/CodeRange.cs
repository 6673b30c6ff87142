using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>From numbers to codes of a few bits and back: code = clip(round(x / scale) + zero), x ≈ (code - zero) · scale, where
/// rounding is to the nearest, halves to the even neighbour, as ONNX's QuantizeLinear does it.</summary>
/// <param name="scale">Above 0.</param>
/// <param name="least">The least code minus the zero point; likewise the largest. Both are below 2^22.</param>
internal readonly struct CodeRange(float scale, float least, float most) : IUnaryMap
{
    /// <summary>Added and taken away, 1.5 · 2^23 rounds a float below 2^22 to a whole number, halves to the even one.</summary>
    public const float Rounder = 12582912f;

    public CodeRange(float scale, float zero, int low, int high) : this(scale, low - zero, high - zero)
    {
    }

    /// <summary>The number that x's code stands for. NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x) where S : ISimd<V> where V : struct => S.Mul(Code<S, V>(x), S.Set(scale));

    /// <summary>The code without the zero point. What is cut to whole numbers may be cut before it is rounded.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Code<S, V>(V x) where S : ISimd<V> where V : struct
    {
        V v = S.Max(S.Set(least), S.Div(x, S.Set(scale))), high = S.Set(most);
        v = S.SelectLess(high, v, high, v);
        return S.Sub(S.Add(v, S.Set(Rounder)), S.Set(Rounder));
    }
}

/// <summary>dx = dy where x's code is not cut, else 0: the slope of a line in the place of the steps (Bengio et al., arXiv
/// 1308.3432).</summary>
internal readonly struct CodeRangeGradient(float scale, float least, float most) : IBinaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x, V dy) where S : ISimd<V> where V : struct
    {
        V code = new CodeRange(scale, least - 1, most + 1).Code<S, V>(x);
        V kept = S.SelectLess(code, S.Set(least), S.Zero, dy);
        return S.SelectLess(S.Set(most), code, S.Zero, kept);
    }
}
