using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>Reductions of one row, whose order of additions depends on its length and the vector width alone.</summary>
internal static unsafe class Reduce<S, V> where S : ISimd<V> where V : struct
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(float* x, int count)
    {
        V a = S.Zero, b = S.Zero, c = S.Zero, d = S.Zero;
        int i = 0;
        for (; i <= count - 4 * S.Width; i += 4 * S.Width)
        {
            a = S.Add(a, S.Load(x + i));
            b = S.Add(b, S.Load(x + i + S.Width));
            c = S.Add(c, S.Load(x + i + 2 * S.Width));
            d = S.Add(d, S.Load(x + i + 3 * S.Width));
        }

        for (; i <= count - S.Width; i += S.Width) a = S.Add(a, S.Load(x + i));
        float tail = 0f;
        for (; i < count; i++) tail += x[i];
        return S.Sum(S.Add(S.Add(a, b), S.Add(c, d))) + tail;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Dot(float* x, float* y, int count)
    {
        V a = S.Zero, b = S.Zero;
        int i = 0;
        for (; i <= count - 2 * S.Width; i += 2 * S.Width)
        {
            a = S.Fma(S.Load(x + i), S.Load(y + i), a);
            b = S.Fma(S.Load(x + i + S.Width), S.Load(y + i + S.Width), b);
        }

        for (; i <= count - S.Width; i += S.Width) a = S.Fma(S.Load(x + i), S.Load(y + i), a);
        float tail = 0f;
        for (; i < count; i++) tail = Scalar.Fma(x[i], y[i], tail);
        return S.Sum(S.Add(a, b)) + tail;
    }

    /// <summary>Sum of (x - center)^2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float SquaredDeviations(float* x, int count, float center)
    {
        V m = S.Set(center), a = S.Zero, b = S.Zero, c = S.Zero, d = S.Zero;
        int i = 0;
        for (; i <= count - 4 * S.Width; i += 4 * S.Width)
        {
            V t = S.Sub(S.Load(x + i), m), u = S.Sub(S.Load(x + i + S.Width), m);
            V v = S.Sub(S.Load(x + i + 2 * S.Width), m), w = S.Sub(S.Load(x + i + 3 * S.Width), m);
            a = S.Fma(t, t, a);
            b = S.Fma(u, u, b);
            c = S.Fma(v, v, c);
            d = S.Fma(w, w, d);
        }

        for (; i <= count - S.Width; i += S.Width)
        {
            V u = S.Sub(S.Load(x + i), m);
            a = S.Fma(u, u, a);
        }

        float tail = 0f;
        for (; i < count; i++) tail = Scalar.Fma(x[i] - center, x[i] - center, tail);
        return S.Sum(S.Add(S.Add(a, b), S.Add(c, d))) + tail;
    }

    /// <summary>The largest element; minus infinity for none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Max(float* x, int count)
    {
        float max = float.NegativeInfinity;
        int i = 0;
        if (count >= S.Width)
        {
            V m = S.Load(x);
            for (i = S.Width; i <= count - S.Width; i += S.Width) m = S.Max(m, S.Load(x + i));
            max = S.MaxLane(m);
        }

        for (; i < count; i++) max = Scalar.Max(max, x[i]);
        return max;
    }

    /// <summary>Sum of exp(x - shift) for shift no less than any x; written to y where y is given.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float SumExp(float* x, int count, float shift, float* y)
    {
        V s = S.Set(shift), a = S.Zero;
        int i = 0;
        for (; i <= count - S.Width; i += S.Width)
        {
            V e = Exp.NonPositive<S, V>(S.Sub(S.Load(x + i), s));
            if (y != null) S.Store(e, y + i);
            a = S.Add(a, e);
        }

        float tail = 0f;
        for (; i < count; i++)
        {
            float e = Exp.NonPositive<Scalar, float>(x[i] - shift);
            if (y != null) y[i] = e;
            tail += e;
        }

        return S.Sum(a) + tail;
    }
}
