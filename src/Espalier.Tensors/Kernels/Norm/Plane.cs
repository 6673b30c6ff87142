using System.Numerics;
using System.Numerics.Tensors;

namespace Espalier.Tensors.Kernels;

/// <summary>The passes over one run of n floats that the channel norms are made of.</summary>
internal static unsafe class Plane
{
    public static double Sum(float* x, int n) => TensorPrimitives.Sum(new ReadOnlySpan<float>(x, n));

    public static double Dot(float* x, float* y, int n) =>
        TensorPrimitives.Dot(new ReadOnlySpan<float>(x, n), new ReadOnlySpan<float>(y, n));

    /// <summary>Sum of (x - mean)². Centred first: E[x²] - mean² loses all digits where the mean is large.</summary>
    public static double CentredSquares(float* x, float mean, int n)
    {
        var m = new Vector<float>(mean);
        Vector<float> sum = Vector<float>.Zero, sum2 = Vector<float>.Zero;
        int i = 0, wide = Vector<float>.Count;
        for (; i <= n - 2 * wide; i += 2 * wide)
        {
            Vector<float> d = Vector.Load(x + i) - m, d2 = Vector.Load(x + i + wide) - m;
            sum = Vector.FusedMultiplyAdd(d, d, sum);
            sum2 = Vector.FusedMultiplyAdd(d2, d2, sum2);
        }
        double total = Vector.Sum(sum + sum2);
        for (; i < n; i++) total += (x[i] - mean) * (x[i] - mean);
        return total;
    }

    /// <summary>Sum of dy·(x - mean).</summary>
    public static double CentredDot(float* dy, float* x, float mean, int n)
    {
        var m = new Vector<float>(mean);
        Vector<float> sum = Vector<float>.Zero;
        int i = 0, wide = Vector<float>.Count;
        for (; i <= n - wide; i += wide) sum = Vector.FusedMultiplyAdd(Vector.Load(x + i) - m, Vector.Load(dy + i), sum);
        double total = Vector.Sum(sum);
        for (; i < n; i++) total += (x[i] - mean) * dy[i];
        return total;
    }

    /// <summary>y = (x - mean)·scale + shift.</summary>
    public static void Normalise(float* x, float mean, float scale, float shift, float* y, int n)
    {
        Vector<float> m = new(mean), a = new(scale), b = new(shift);
        int i = 0, wide = Vector<float>.Count;
        for (; i <= n - wide; i += wide) Vector.FusedMultiplyAdd(Vector.Load(x + i) - m, a, b).Store(y + i);
        for (; i < n; i++) y[i] = MathF.FusedMultiplyAdd(x[i] - mean, scale, shift);
    }

    /// <summary>dx = a·dy + b·(x - mean) + c, written or added.</summary>
    public static void Gradient(float* dy, float a, float* x, float mean, float b, float c, float* dx, bool accumulate, int n)
    {
        Vector<float> va = new(a), vb = new(b), vc = new(c), m = new(mean);
        int i = 0, wide = Vector<float>.Count;
        for (; i <= n - wide; i += wide)
        {
            Vector<float> start = accumulate ? Vector.Load(dx + i) + vc : vc;
            Vector<float> centred = Vector.FusedMultiplyAdd(Vector.Load(x + i) - m, vb, start);
            Vector.FusedMultiplyAdd(Vector.Load(dy + i), va, centred).Store(dx + i);
        }
        for (; i < n; i++) dx[i] = a * dy[i] + b * (x[i] - mean) + (accumulate ? dx[i] + c : c);
    }
}
