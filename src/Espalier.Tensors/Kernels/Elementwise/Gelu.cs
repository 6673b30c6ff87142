using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>GELU by the error function (Hendrycks and Gimpel 2016): x Phi(x), Phi the normal distribution.</summary>
internal static unsafe class Gelu
{
    private const float InverseSqrt2Pi = 0.398942280f;

    /// <summary>y[i] = x[i] Phi(x[i]).</summary>
    public static void Forward(float* x, float* y, nint count) => Map.Unary(default(ForwardMap), x, y, count);

    /// <summary>y[i] = x[i] / (1 + e^(-quick x[i])), or the exact one for a quick of 0.</summary>
    public static void Forward(float* x, float* y, nint count, float quick)
    {
        if (quick == 0) Forward(x, y, count);
        else Map.Unary(new QuickMap(quick), x, y, count);
    }

    /// <summary>dx[i] = dy[i] (Phi(x[i]) + x[i] phi(x[i])), phi the normal density.</summary>
    public static void Backward(float* x, float* dy, float* dx, nint count) =>
        Map.Binary(default(BackwardMap), x, dy, dx, count);

    /// <summary>
    /// As <see cref="Backward"/> on a matrix [rows, columns], with the sums over dx's rows in the same pass: what the bias of
    /// the linear layer before a GELU wants. Bitwise the same for the same number of threads.
    /// </summary>
    /// <param name="dx">[rows, columns], written; may be dy.</param>
    /// <param name="sums">[columns], written, or added to with <paramref name="accumulate"/>; null where not wanted.</param>
    public static void BackwardRows(float* x, float* dy, float* dx, int rows, int columns, float* sums, bool accumulate)
    {
        if (sums == null) Backward(x, dy, dx, (nint)rows * columns);
        else if (Hardware.Has512) BackwardRows<Simd512, Vector512<float>>(x, dy, dx, rows, columns, sums, accumulate);
        else if (Hardware.Has256) BackwardRows<Simd256, Vector256<float>>(x, dy, dx, rows, columns, sums, accumulate);
        else BackwardRows<Simd128, Vector128<float>>(x, dy, dx, rows, columns, sums, accumulate);
    }

    private static void BackwardRows<S, V>(float* x, float* dy, float* dx, int rows, int columns, float* sums, bool accumulate)
        where S : ISimd<V> where V : struct
    {
        int grain = 16384 / Math.Max(1, columns) + 1, count = Workers.Parts(rows, grain);
        float* parts = Scratch.Rent((nint)count * columns);
        Workers.For(rows, grain, new RowsJob<S, V>(x, dy, dx, columns, parts));
        ColumnSums.AddParts(parts, count, columns, columns, sums, accumulate);
    }

    private readonly struct RowsJob<S, V>(float* x, float* dy, float* dx, int columns, float* parts) : IRangeJob
        where S : ISimd<V> where V : struct
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Run(int start, int end, int worker)
        {
            float* sum = parts + (nint)worker * columns;
            new Span<float>(sum, columns).Clear();
            for (nint r = start; r < end; r++) Row(x + r * columns, dy + r * columns, dx + r * columns, sum);
        }

        private void Row(float* z, float* g, float* to, float* sum)
        {
            BackwardMap map = default;
            int i = 0;
            for (; i <= columns - S.Width; i += S.Width)
            {
                V d = map.Run<S, V>(S.Load(z + i), S.Load(g + i));
                S.Store(d, to + i);
                S.Store(S.Add(S.Load(sum + i), d), sum + i);
            }

            for (; i < columns; i++)
            {
                to[i] = map.Run<Scalar, float>(z[i], g[i]);
                sum[i] += to[i];
            }
        }
    }

    private readonly struct ForwardMap : IUnaryMap
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Run<S, V>(V x) where S : ISimd<V> where V : struct => Normal.Gelu<S, V>(x);
    }

    private readonly struct QuickMap(float quick) : IUnaryMap
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Run<S, V>(V x) where S : ISimd<V> where V : struct => Normal.Gelu<S, V>(x, quick);
    }

    private readonly struct BackwardMap : IBinaryMap
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public V Run<S, V>(V x, V dy) where S : ISimd<V> where V : struct
        {
            V density = S.Mul(S.Set(InverseSqrt2Pi), Exp.NonPositive<S, V>(S.Mul(S.Mul(x, x), S.Set(-0.5f))));
            return S.Mul(dy, S.Fma(x, density, Normal.Phi<S, V>(x)));
        }
    }
}
