using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Sums over the rows of a matrix, as bias gradients are.</summary>
internal static unsafe class ColumnSums
{
    /// <summary>sums [columns] (+)= sum over r of x[r, :]; x [rows, columns] with leading dimension ldx. Each thread sums a
    /// run of rows, and the runs are added in order: bitwise the same for the same number of threads.</summary>
    public static void Run(float* x, nint ldx, int rows, int columns, float* sums, bool accumulate)
    {
        if (Hardware.Has512) Run<Simd512, Vector512<float>>(x, ldx, rows, columns, sums, accumulate);
        else if (Hardware.Has256) Run<Simd256, Vector256<float>>(x, ldx, rows, columns, sums, accumulate);
        else Run<Simd128, Vector128<float>>(x, ldx, rows, columns, sums, accumulate);
    }

    /// <summary>target [columns] (+)= parts [count, columns] added up in order.</summary>
    internal static void AddParts(float* parts, int count, nint stride, int columns, float* target, bool accumulate)
    {
        for (int c = 0; c < columns; c++)
        {
            float sum = accumulate ? target[c] : 0f;
            for (int p = 0; p < count; p++) sum += parts[p * stride + c];
            target[c] = sum;
        }
    }

    private static void Run<S, V>(float* x, nint ldx, int rows, int columns, float* sums, bool accumulate)
        where S : ISimd<V> where V : struct
    {
        int grain = 32768 / Math.Max(1, columns) + 1, count = Workers.Parts(rows, grain);
        float* parts = Scratch.Rent((nint)count * columns);
        Workers.For(rows, grain, new Job<S, V>(x, ldx, columns, parts));
        AddParts(parts, count, columns, columns, sums, accumulate);
    }

    private readonly struct Job<S, V>(float* x, nint ldx, int columns, float* parts) : IRangeJob
        where S : ISimd<V> where V : struct
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Run(int start, int end, int worker)
        {
            float* sum = parts + (nint)worker * columns;
            new Span<float>(sum, columns).Clear();
            nint r = start;
            for (; r <= end - 4; r += 4) AddFour(x + r * ldx, sum);
            for (; r < end; r++) AddOne(x + r * ldx, sum);
        }

        // Four rows at once: the sums are loaded and stored a quarter as often.
        private void AddFour(float* a, float* sum)
        {
            float* b = a + ldx, c = b + ldx, d = c + ldx;
            int i = 0;
            for (; i <= columns - S.Width; i += S.Width)
            {
                V four = S.Add(S.Add(S.Load(a + i), S.Load(b + i)), S.Add(S.Load(c + i), S.Load(d + i)));
                S.Store(S.Add(S.Load(sum + i), four), sum + i);
            }

            for (; i < columns; i++) sum[i] += (a[i] + b[i]) + (c[i] + d[i]);
        }

        private void AddOne(float* a, float* sum)
        {
            int i = 0;
            for (; i <= columns - S.Width; i += S.Width) S.Store(S.Add(S.Load(sum + i), S.Load(a + i)), sum + i);
            for (; i < columns; i++) sum[i] += a[i];
        }
    }
}
