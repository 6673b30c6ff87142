using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// What <see cref="AttentionSoftmax{S, V}"/> and <see cref="AttentionScores{S, V}"/> do, with a bias added to the scores first.
/// The bias may be minus infinity, which makes the probability exactly 0, and all of it may be.
/// </summary>
internal static unsafe class AttentionBiased<S, V> where S : ISimd<V> where V : struct
{
    // No score is below it, and taken from minus infinity it leaves minus infinity, not NaN.
    private const float Lowest = -3e38f;
    private const float Log2E = 1.44269504f;

    /// <summary>scores [keys, stride] become 2^(score + bias - maximum of the column), not yet divided by their sums, which are 1
    /// where nothing is seen.</summary>
    /// <param name="bias">[vectors, keys, lanes], in units of log 2.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Softmax(float* scores, nint stride, float* bias, int keys, int vectors, float* sums, float* maxima)
    {
        for (int i = 0; i < vectors; i++, bias += (nint)keys * S.Width)
        {
            float* column = scores + (i * S.Width);
            V max = S.Set(Lowest);
            for (int j = 0; j < keys; j++)
            {
                V score = S.Add(S.Load(column + j * stride), S.Load(bias + (nint)j * S.Width));
                S.Store(score, column + j * stride);
                max = S.Max(max, score);
            }

            V sum = Powers(column, stride, keys, max);
            // The largest score of what is seen gives 1; a NaN stays one.
            S.Store(S.SelectLess(sum, S.Set(0.5f), S.Set(1f), sum), sums + (i * S.Width));
            S.Store(max, maxima + (i * S.Width));
        }
    }

    /// <summary>The same where the bias is one number a key, [keys] in units of log 2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void SoftmaxOfKeys(float* scores, nint stride, float* bias, int keys, int vectors, float* sums, float* maxima)
    {
        for (int i = 0; i < vectors; i++)
        {
            float* column = scores + (i * S.Width);
            V max = S.Set(Lowest);
            for (int j = 0; j < keys; j++)
            {
                V score = S.Add(S.Load(column + j * stride), S.Set(bias[j]));
                S.Store(score, column + j * stride);
                max = S.Max(max, score);
            }

            V sum = Powers(column, stride, keys, max);
            S.Store(S.SelectLess(sum, S.Set(0.5f), S.Set(1f), sum), sums + (i * S.Width));
            S.Store(max, maxima + (i * S.Width));
        }
    }

    /// <summary>As <see cref="AttentionScores{S, V}.Backward"/>; bias [rows, stride].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Backward(
        float* scores, float* dP, float* bias, int stride, int rows, float* maxima, float* factors, float* dot)
    {
        for (int i = 0; i < rows; i++, scores += stride, dP += stride, bias += stride)
        {
            V shift = S.Set(maxima[i]), factor = S.Set(factors[i]), center = S.Set(dot[i]);
            for (int j = 0; j < stride; j += S.Width)
            {
                V score = S.Add(S.Load(scores + j), S.Mul(S.Load(bias + j), S.Set(Log2E)));
                V p = S.Mul(PowerOfTwo(S.Sub(score, shift)), factor);
                S.Store(p, scores + j);
                S.Store(S.Mul(p, S.Sub(S.Load(dP + j), center)), dP + j);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Powers(float* column, nint stride, int keys, V max)
    {
        V sum = S.Zero;
        for (int j = 0; j < keys; j++)
        {
            V e = PowerOfTwo(S.Sub(S.Load(column + j * stride), max));
            S.Store(e, column + j * stride);
            sum = S.Add(sum, e);
        }
        return sum;
    }

    // 0 where the other softmax would leave a number too small to count.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V PowerOfTwo(V x) => S.SelectLess(x, S.Set(-125f), S.Zero, Exp.PowerOfTwo<S, V>(x));
}
