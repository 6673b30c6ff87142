using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Softmax and its logarithm over the rows of a matrix [rows, columns]; columns may be any number from 1. The row's maximum
/// is subtracted first. An output may be the same memory as an input.
/// </summary>
internal static unsafe class Softmax
{
    /// <summary>y = exp(x) / sum(exp(x)), each row for itself.</summary>
    public static void Forward(float* x, float* y, int rows, int columns) => Run(Kind.Forward, x, y, y, rows, columns);

    /// <summary>From y = softmax(x): dx = y (dy - sum(y dy)).</summary>
    public static void Backward(float* y, float* dy, float* dx, int rows, int columns) =>
        Run(Kind.Backward, y, dy, dx, rows, columns);

    /// <summary>y = x - log(sum(exp(x))), each row for itself.</summary>
    public static void LogForward(float* x, float* y, int rows, int columns) =>
        Run(Kind.LogForward, x, y, y, rows, columns);

    /// <summary>From y = log softmax(x): dx = dy - exp(y) sum(dy).</summary>
    public static void LogBackward(float* y, float* dy, float* dx, int rows, int columns) =>
        Run(Kind.LogBackward, y, dy, dx, rows, columns);

    private enum Kind { Forward, Backward, LogForward, LogBackward }

    private static void Run(Kind kind, float* a, float* b, float* target, int rows, int columns)
    {
        if (Hardware.Has512) Run<Simd512, Vector512<float>>(kind, a, b, target, rows, columns);
        else if (Hardware.Has256) Run<Simd256, Vector256<float>>(kind, a, b, target, rows, columns);
        else Run<Simd128, Vector128<float>>(kind, a, b, target, rows, columns);
    }

    private static void Run<S, V>(Kind kind, float* a, float* b, float* target, int rows, int columns)
        where S : ISimd<V> where V : struct =>
        Workers.For(rows, 8192 / Math.Max(1, columns) + 1, new Job<S, V>(kind, a, b, target, columns));

    private readonly struct Job<S, V>(Kind kind, float* a, float* b, float* target, int columns) : IRangeJob
        where S : ISimd<V> where V : struct
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Run(int start, int end, int worker)
        {
            for (nint r = start; r < end; r++)
            {
                float* p = a + r * columns, q = b + r * columns, t = target + r * columns;
                switch (kind)
                {
                    case Kind.Forward: ForwardRow(p, t); break;
                    case Kind.Backward: BackwardRow(p, q, t); break;
                    case Kind.LogForward: LogForwardRow(p, t); break;
                    default: LogBackwardRow(p, q, t); break;
                }
            }
        }

        private void ForwardRow(float* x, float* y)
        {
            float factor = 1f / Reduce<S, V>.SumExp(x, columns, Reduce<S, V>.Max(x, columns), y);
            V f = S.Set(factor);
            int i = 0;
            for (; i <= columns - S.Width; i += S.Width) S.Store(S.Mul(S.Load(y + i), f), y + i);
            for (; i < columns; i++) y[i] *= factor;
        }

        private void BackwardRow(float* y, float* dy, float* dx)
        {
            float dot = Reduce<S, V>.Dot(y, dy, columns);
            V d = S.Set(dot);
            int i = 0;
            for (; i <= columns - S.Width; i += S.Width) S.Store(S.Mul(S.Load(y + i), S.Sub(S.Load(dy + i), d)), dx + i);
            for (; i < columns; i++) dx[i] = y[i] * (dy[i] - dot);
        }

        private void LogForwardRow(float* x, float* y)
        {
            float max = Reduce<S, V>.Max(x, columns);
            // Subtracted one after the other: max + log(sum) would round the small one away.
            float log = MathF.Log(Reduce<S, V>.SumExp(x, columns, max, null));
            V m = S.Set(max), l = S.Set(log);
            int i = 0;
            for (; i <= columns - S.Width; i += S.Width) S.Store(S.Sub(S.Sub(S.Load(x + i), m), l), y + i);
            for (; i < columns; i++) y[i] = x[i] - max - log;
        }

        private void LogBackwardRow(float* y, float* dy, float* dx)
        {
            float sum = Reduce<S, V>.Sum(dy, columns);
            V minus = S.Set(-sum);
            int i = 0;
            for (; i <= columns - S.Width; i += S.Width)
            {
                S.Store(S.Fma(Exp.NonPositive<S, V>(S.Load(y + i)), minus, S.Load(dy + i)), dx + i);
            }

            for (; i < columns; i++) dx[i] = Scalar.Fma(Exp.NonPositive<Scalar, float>(y[i]), -sum, dy[i]);
        }
    }
}
