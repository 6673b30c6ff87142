using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>From probabilities to the numbers that codes of a few bits stand for, see <see cref="ProbabilityCodes"/>.</summary>
/// <param name="largest">The largest code of a range.</param>
/// <param name="split">Of twin ranges.</param>
internal readonly struct ProbabilityRange(ProbabilityCoding coding, int largest, float split) : IUnaryMap
{
    private const float Root = 1.41421356f;

    // 2^(1/2) and 2^(1/4) are half a step of the logarithm: with them cutting it to whole steps rounds to the nearest.
    private const float FourthRoot = 1.18920712f;

    private readonly float scale = 1f / largest, fine = split / largest;

    // Somewhat below the last power that has a code: the largest code stands for 0.
    private readonly float least =
        0.9f * (float)Math.Pow(2, (coding == ProbabilityCoding.LogSqrt2 ? 0.5 : 1) * (1 - largest));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V p) where S : ISimd<V> where V : struct => coding switch
    {
        ProbabilityCoding.Uniform => Steps<S, V>(p, scale),
        ProbabilityCoding.Twin => S.SelectLess(S.Set(split), p, Steps<S, V>(p, scale), Steps<S, V>(p, fine)),
        ProbabilityCoding.Log2 => Coded<S, V>(S.PowerBelow(S.Mul(p, S.Set(Root)))),
        _ => Coded<S, V>(Halves<S, V>(S.Mul(p, S.Set(FourthRoot)))),
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Steps<S, V>(V p, float step) where S : ISimd<V> where V : struct
    {
        V rounder = S.Set(CodeRange.Rounder), code = S.Sub(S.Add(S.Div(p, S.Set(step)), rounder), rounder);
        return S.Mul(code, S.Set(step));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Halves<S, V>(V p) where S : ISimd<V> where V : struct
    {
        V whole = S.PowerBelow(p), half = S.Mul(whole, S.Set(Root));
        return S.SelectLess(p, half, whole, half);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private V Coded<S, V>(V power) where S : ISimd<V> where V : struct => S.SelectLess(power, S.Set(least), S.Zero, power);

    /// <summary>Powers of attention to rounded probabilities: scores [keys, stride], divided by their sums, which become 1.
    /// </summary>
    /// <param name="vectors">Vectors of queries in a row.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public unsafe void Round<S, V>(float* scores, nint stride, int keys, int vectors, float* sums)
        where S : ISimd<V> where V : struct
    {
        for (int i = 0; i < vectors; i++)
        {
            V sum = S.Load(sums + (i * S.Width));
            float* p = scores + (i * S.Width);
            for (int j = 0; j < keys; j++, p += stride) S.Store(Run<S, V>(S.Div(S.Load(p), sum)), p);
            S.Store(S.Set(1f), sums + (i * S.Width));
        }
    }
}
