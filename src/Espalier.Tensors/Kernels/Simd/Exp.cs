using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Exponentials for arguments that are not positive, as softmax and the normal density have them: x is split into a whole
/// power of two and a remainder of at most one half, for which a polynomial of degree 5 is right to 9.2e-8 (minimax on that
/// interval with 1 kept exact; with the float roundings below 2 ulp).
/// </summary>
internal static class Exp
{
    // Added to |x| < 2^22, 1.5 * 2^23 rounds x to the nearest integer and leaves it in the low bits.
    private const float Round = 12582912f;

    /// <summary>2^x for x &lt;= 0. Below -125 it stays at 2^-125, which is nothing next to softmax's largest term, 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V PowerOfTwo<S, V>(V x) where S : ISimd<V> where V : struct =>
        PowerOfTwoInRange<S, V>(S.Max(S.Set(-125f), x));

    /// <summary>2^x for -125 &lt;= x &lt;= 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V PowerOfTwoInRange<S, V>(V x) where S : ISimd<V> where V : struct
    {
        V shifted = S.Add(x, S.Set(Round));
        V f = S.Sub(x, S.Sub(shifted, S.Set(Round)));
        V p = S.Fma(S.Set(0.0013264727f), f, S.Set(0.0096715127f));
        p = S.Fma(p, f, S.Set(0.055507337f));
        p = S.Fma(p, f, S.Set(0.24022242f));
        p = S.Fma(p, f, S.Set(0.69314698f));
        p = S.Fma(p, f, S.Set(1f));
        return S.ScaleByPower(p, shifted);
    }

    /// <summary>e^x for x &lt;= 0; 0 below -87, where the result would no longer be a normal number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V NonPositive<S, V>(V x) where S : ISimd<V> where V : struct
    {
        V clamped = S.Max(S.Set(-87f), x);
        V shifted = S.Fma(clamped, S.Set(1.44269504f), S.Set(Round));
        V n = S.Sub(shifted, S.Set(Round));
        // ln 2 in two parts: the first has few bits, so that n times it is exact.
        V f = S.Fma(n, S.Set(-0.693359375f), clamped);
        f = S.Fma(n, S.Set(2.12194440e-4f), f);
        V p = S.Fma(S.Set(0.0082903146f), f, S.Set(0.041897929f));
        p = S.Fma(p, f, S.Set(0.16667636f));
        p = S.Fma(p, f, S.Set(0.4999915f));
        p = S.Fma(p, f, S.Set(0.99999971f));
        p = S.Fma(p, f, S.Set(1f));
        return S.SelectLess(x, S.Set(-87f), S.Zero, S.ScaleByPower(p, shifted));
    }
}
