using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// The standard normal distribution, GELU and what stands for it; the exact ones without a division: Phi(-u) = 2^P(u) for u >= 0, where P has degree 6 and is
/// fitted for the least error of u Phi(-u) and of Phi(-u) up to u = 6.2, with P(0) = -1 kept exact. Phi and GELU are right
/// to 1.8e-7, near 0 relative to GELU too.
/// </summary>
internal static class Normal
{
    // Beyond it Phi(-u) is below 2^-63: nothing next to 1, and nothing that GELU of a negative x would show.
    private const float Limit = 9f;

    /// <summary>The share of the distribution below x. NaN gives NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Phi<S, V>(V x) where S : ISimd<V> where V : struct
    {
        V tail = Tail<S, V>(S.Max(S.Set(-Limit), S.MinusAbs(x)));
        return S.SelectLess(x, S.Zero, tail, S.Sub(S.Set(1f), tail));
    }

    /// <summary>x Phi(x) = max(x, 0) - |x| Phi(-|x|). NaN gives NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Gelu<S, V>(V x) where S : ISimd<V> where V : struct
    {
        V minus = S.Max(S.Set(-Limit), S.MinusAbs(x));
        return S.Fma(minus, Tail<S, V>(minus), S.Max(S.Zero, x));
    }

    /// <summary>GELU as an epilogue asks for it: the exact one, or x / (1 + e^(-quick x)) where quick is above 0, as QuickGELU
    /// (1.702) and SiLU (1) are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Gelu<S, V>(V x, float quick) where S : ISimd<V> where V : struct
    {
        if (quick == 0) return Gelu<S, V>(x);
        V e = Exp.NonPositive<S, V>(S.Mul(S.Set(quick), S.MinusAbs(x))), share = S.Div(S.Set(1f), S.Add(S.Set(1f), e));
        return S.Mul(x, S.SelectLess(x, S.Zero, S.Mul(e, share), share));
    }

    // Phi(x) for -Limit <= x <= 0.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Tail<S, V>(V x) where S : ISimd<V> where V : struct
    {
        V p = S.Fma(S.Set(2.3861394e-5f), x, S.Set(6.8933945e-4f));
        p = S.Fma(p, x, S.Set(7.8234980e-3f));
        p = S.Fma(p, x, S.Set(0.053027656f));
        p = S.Fma(p, x, S.Set(-0.45904152f));
        p = S.Fma(p, x, S.Set(1.1511218f));
        return Exp.PowerOfTwoInRange<S, V>(S.Fma(p, x, S.Set(-1f)));
    }
}
