using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>GELU by the error function (Hendrycks and Gimpel 2016): x Phi(x), Phi the normal distribution.</summary>
internal static unsafe class Gelu
{
    private const float Sqrt1_2 = 0.707106781f, InverseSqrt2Pi = 0.398942280f;

    /// <summary>y[i] = x[i] Phi(x[i]).</summary>
    public static void Forward(float* x, float* y, nint count) => Map.Unary(default(ForwardMap), x, y, count);

    /// <summary>dx[i] = dy[i] (Phi(x[i]) + x[i] phi(x[i])), phi the normal density.</summary>
    public static void Backward(float* x, float* dy, float* dx, nint count) =>
        Map.Binary(default(BackwardMap), x, dy, dx, count);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Phi<S, V>(V x) where S : ISimd<V> where V : struct
    {
        V half = S.Set(0.5f);
        return S.Fma(half, S.Erf(S.Mul(x, S.Set(Sqrt1_2))), half);
    }

    private readonly struct ForwardMap : IUnaryMap
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Run<S, V>(V x) where S : ISimd<V> where V : struct => S.Mul(x, Phi<S, V>(x));
    }

    private readonly struct BackwardMap : IBinaryMap
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Run<S, V>(V x, V dy) where S : ISimd<V> where V : struct
        {
            V density = S.Mul(S.Set(InverseSqrt2Pi), Exp.NonPositive<S, V>(S.Mul(S.Mul(x, x), S.Set(-0.5f))));
            return S.Mul(dy, S.Fma(x, density, Phi<S, V>(x)));
        }
    }
}
