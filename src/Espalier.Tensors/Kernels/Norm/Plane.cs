using System.Numerics;
using System.Numerics.Tensors;

namespace Espalier.Tensors.Kernels;

/// <summary>The passes over one run of n floats that the channel norms are made of.</summary>
internal static unsafe class Plane
{
    public static double Sum(float* x, int n) => TensorPrimitives.Sum(new ReadOnlySpan<float>(x, n));

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

    /// <summary>Adds the sums of x - pivot and of its squares: one pass, which loses no digits where the pivot is near the mean.
    /// </summary>
    public static void Moments(float* x, float pivot, int n, ref double sum, ref double squares)
    {
        var p = new Vector<float>(pivot);
        Vector<float> s = Vector<float>.Zero, s2 = Vector<float>.Zero, q = Vector<float>.Zero, q2 = Vector<float>.Zero;
        int i = 0, wide = Vector<float>.Count;
        for (; i <= n - 2 * wide; i += 2 * wide)
        {
            Vector<float> d = Vector.Load(x + i) - p, d2 = Vector.Load(x + i + wide) - p;
            s += d;
            s2 += d2;
            q = Vector.FusedMultiplyAdd(d, d, q);
            q2 = Vector.FusedMultiplyAdd(d2, d2, q2);
        }
        sum += Vector.Sum(s + s2);
        squares += Vector.Sum(q + q2);
        for (; i < n; i++)
        {
            float d = x[i] - pivot;
            sum += d;
            squares += d * d;
        }
    }

    /// <summary>Adds the sums of g and of g·(x - mean), where g is what the gate lets through of dy.</summary>
    public static void GradientSums(float* dy, float* x, float mean, in ReluGate gate, int n, ref double sum, ref double dot)
    {
        var m = new Vector<float>(mean);
        Vector<float> s = Vector<float>.Zero, t = Vector<float>.Zero;
        int i = 0, wide = Vector<float>.Count;
        for (; i <= n - wide; i += wide)
        {
            Vector<float> centred = Vector.Load(x + i) - m, g = gate.Run(Vector.Load(dy + i), centred);
            s += g;
            t = Vector.FusedMultiplyAdd(centred, g, t);
        }
        sum += Vector.Sum(s);
        dot += Vector.Sum(t);
        for (; i < n; i++)
        {
            float centred = x[i] - mean, g = gate.Run(dy[i], centred);
            sum += g;
            dot += centred * g;
        }
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

    /// <summary>y = (x - mean)·scale + shift, or the larger one of that and 0.</summary>
    public static void Normalise(float* x, float mean, float scale, float shift, float* y, int n, bool relu = false)
    {
        Vector<float> m = new(mean), a = new(scale), b = new(shift);
        int i = 0, wide = Vector<float>.Count;
        for (; i <= n - wide; i += wide)
        {
            Vector<float> z = Vector.FusedMultiplyAdd(Vector.Load(x + i) - m, a, b);
            (relu ? Vector.Max(z, Vector<float>.Zero) : z).Store(y + i);
        }
        for (; i < n; i++)
        {
            float z = MathF.FusedMultiplyAdd(x[i] - mean, scale, shift);
            y[i] = relu ? MathF.Max(z, 0) : z;
        }
    }

    /// <summary>dx = a·g + b·(x - mean) + c, written or added, where g is what the gate lets through of dy.</summary>
    public static void Gradient(
        float* dy, float a, float* x, float mean, float b, float c, float* dx, bool accumulate, int n, in ReluGate gate = default)
    {
        Vector<float> va = new(a), vb = new(b), vc = new(c), m = new(mean);
        int i = 0, wide = Vector<float>.Count;
        for (; i <= n - wide; i += wide)
        {
            Vector<float> start = accumulate ? Vector.Load(dx + i) + vc : vc, centred = Vector.Load(x + i) - m;
            Vector<float> g = gate.Run(Vector.Load(dy + i), centred);
            Vector.FusedMultiplyAdd(g, va, Vector.FusedMultiplyAdd(centred, vb, start)).Store(dx + i);
        }
        for (; i < n; i++)
        {
            float centred = x[i] - mean;
            dx[i] = a * gate.Run(dy[i], centred) + b * centred + (accumulate ? dx[i] + c : c);
        }
    }
}
