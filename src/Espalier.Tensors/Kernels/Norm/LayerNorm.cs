using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Layer normalisation over the last dimension (Ba, Kiros and Hinton 2016): y = (x - mean) / sqrt(variance + eps) * gamma
/// + beta, with the variance of the population, taken from the deviations in a second pass over the cached row.
/// </summary>
internal static unsafe class LayerNorm
{
    /// <summary>The forward pass. y may be x.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="gamma">[columns]; likewise beta.</param>
    /// <param name="y">[rows, columns], written.</param>
    /// <param name="mean">[rows], written: what <see cref="Backward"/> needs; null where it is not wanted.</param>
    /// <param name="rstd">[rows], written: 1 / sqrt(variance + eps); null where it is not wanted.</param>
    /// <param name="width">How many values the statistics are of; those beyond the columns are zeros that are not stored. 0 stands
    /// for the columns.</param>
    public static void Forward(
        float* x, float* gamma, float* beta, float eps, int rows, int columns, float* y,
        float* mean = null, float* rstd = null, int width = 0)
    {
        if (width == 0) width = columns;
        if (Hardware.Has512) Forward<Simd512, Vector512<float>>(x, gamma, beta, eps, rows, columns, y, mean, rstd, width);
        else if (Hardware.Has256) Forward<Simd256, Vector256<float>>(x, gamma, beta, eps, rows, columns, y, mean, rstd, width);
        else Forward<Simd128, Vector128<float>>(x, gamma, beta, eps, rows, columns, y, mean, rstd, width);
    }

    /// <summary>
    /// The gradients. With n = (x - mean) rstd and g = dy gamma: dx = rstd (g - mean(g) - n mean(g n)), dgamma += sum over
    /// rows of dy n, dbeta += sum over rows of dy. Bitwise the same for the same number of threads.
    /// </summary>
    /// <param name="x">[rows, columns]; likewise dy.</param>
    /// <param name="mean">[rows], from <see cref="Forward"/>; likewise rstd.</param>
    /// <param name="dx">[rows, columns], written, or added to with <paramref name="accumulate"/>; null where it is not
    /// wanted. May be dy.</param>
    /// <param name="dgamma">[columns], added to; likewise dbeta; each null where it is not wanted.</param>
    /// <param name="width">As in the forward pass.</param>
    public static void Backward(
        float* x, float* gamma, float* mean, float* rstd, float* dy, int rows, int columns,
        float* dx, bool accumulate, float* dgamma, float* dbeta, int width = 0)
    {
        var job = new LayerNormGradients
        {
            X = x, Gamma = gamma, Mean = mean, Rstd = rstd, DY = dy, DX = dx, Columns = columns,
            Width = width == 0 ? columns : width, Accumulate = accumulate,
        };
        int grain = Grain(columns), count = Workers.Parts(rows, grain);
        if (dgamma != null || dbeta != null) job.Parts = Scratch.Rent(2 * (nint)count * columns);
        if (Hardware.Has512) Workers.For(rows, grain, new LayerNormBackward<Simd512, Vector512<float>>(job));
        else if (Hardware.Has256) Workers.For(rows, grain, new LayerNormBackward<Simd256, Vector256<float>>(job));
        else Workers.For(rows, grain, new LayerNormBackward<Simd128, Vector128<float>>(job));
        nint stride = 2 * (nint)columns;
        if (dgamma != null) ColumnSums.AddParts(job.Parts, count, stride, columns, dgamma, accumulate: true);
        if (dbeta != null) ColumnSums.AddParts(job.Parts + columns, count, stride, columns, dbeta, accumulate: true);
    }

    private static int Grain(int columns) => 16384 / Math.Max(1, columns) + 1;

    private static void Forward<S, V>(
        float* x, float* gamma, float* beta, float eps, int rows, int columns, float* y, float* mean, float* rstd, int width)
        where S : ISimd<V> where V : struct =>
        Workers.For(rows, Grain(columns), new ForwardJob<S, V>(x, gamma, beta, eps, columns, y, mean, rstd, width));

    private readonly struct ForwardJob<S, V>(
        float* x, float* gamma, float* beta, float eps, int columns, float* y, float* mean, float* rstd, int width) : IRangeJob
        where S : ISimd<V> where V : struct
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Run(int start, int end, int worker)
        {
            for (int r = start; r < end; r++) Row(r, x + (nint)r * columns, y + (nint)r * columns);
        }

        private void Row(int r, float* source, float* target)
        {
            float m = Reduce<S, V>.Sum(source, columns) / width;
            float squares = Reduce<S, V>.SquaredDeviations(source, columns, m) + (width - columns) * m * m;
            float s = 1f / MathF.Sqrt(squares / width + eps);
            V mv = S.Set(m), sv = S.Set(s);
            int i = 0;
            for (; i <= columns - S.Width; i += S.Width)
            {
                V n = S.Mul(S.Sub(S.Load(source + i), mv), sv);
                S.Store(S.Fma(n, S.Load(gamma + i), S.Load(beta + i)), target + i);
            }

            for (; i < columns; i++) target[i] = Scalar.Fma((source[i] - m) * s, gamma[i], beta[i]);
            if (mean != null) mean[r] = m;
            if (rstd != null) rstd[r] = s;
        }
    }
}
