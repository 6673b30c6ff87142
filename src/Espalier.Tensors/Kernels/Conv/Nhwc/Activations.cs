using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Espalier.Tensors.Kernels;

/// <summary>Applies an <see cref="Activation"/>, in place or to a vector.</summary>
internal static unsafe class Activations
{
    /// <summary>y = f(y) on [rows, columns] with row distance <paramref name="ld"/>.</summary>
    public static void Apply(Activation f, float* y, nint ld, int rows, int columns)
    {
        if (f == Activation.None) return;
        if (Hardware.Has512) Apply<Simd512, Vector512<float>>(f, y, ld, rows, columns);
        else if (Hardware.Has256) Apply<Simd256, Vector256<float>>(f, y, ld, rows, columns);
        else Apply<Simd128, Vector128<float>>(f, y, ld, rows, columns);
    }

    /// <summary>f(x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Of<S, V>(Activation f, V x) where S : ISimd<V> where V : struct
    {
        switch (f)
        {
            case Activation.Relu:
                return S.Max(S.Zero, x);
            case Activation.Relu6:
                V low = S.Max(S.Zero, x), six = S.Set(6f);
                return S.SelectLess(six, low, six, low);
            case Activation.Silu:
                return S.Mul(x, Sigmoid<S, V>(x));
            case Activation.Sigmoid:
                return Sigmoid<S, V>(x);
            default:
                return x;
        }
    }

    // With e = e^-|x|: 1 / (1 + e), or e / (1 + e) for a negative x. So nothing overflows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Sigmoid<S, V>(V x) where S : ISimd<V> where V : struct
    {
        V e = Exp.NonPositive<S, V>(S.MinusAbs(x));
        V s = S.Div(S.Set(1f), S.Add(S.Set(1f), e));
        return S.SelectLess(x, S.Zero, S.Mul(e, s), s);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Apply<S, V>(Activation f, float* y, nint ld, int rows, int columns)
        where S : ISimd<V> where V : struct
    {
        for (; rows > 0; rows--, y += ld)
        {
            int c = 0;
            for (; c <= columns - S.Width; c += S.Width) S.Store(Of<S, V>(f, S.Load(y + c)), y + c);
            for (; c < columns; c++) y[c] = Of<Scalar, float>(f, y[c]);
        }
    }
}
