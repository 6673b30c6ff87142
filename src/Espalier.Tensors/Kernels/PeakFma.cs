using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>What the processor's multiply-add units can do at most, measured: the ceiling that matrix kernels are held
/// against. A multiply-add counts as two operations.</summary>
public static class PeakFma
{
    private const int Windows = 30;
    private const double WindowSeconds = 0.01;

    // Each waits only for itself: twelve cover a latency of four cycles at two a cycle, and leave room in 16 registers.
    private const int Accumulators = 12;

    /// <summary>Runs multiply-adds on registers alone, in the vector width of <see cref="KernelInfo"/>, on
    /// <paramref name="threads"/> threads of its own for about a third of a second.</summary>
    /// <param name="threads">1 to 256; more than there are cores do not add up.</param>
    /// <returns>GFLOP/s of all the threads together in the best of 30 windows of 10 ms.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The number of threads is not 1 to 256.</exception>
    public static double Measure(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(threads, Workers.MaxThreads);
        return KernelInfo.Name switch
        {
            "avx512" => Measure<Simd512, Vector512<float>>(threads),
            "avx2" => Measure<Simd256, Vector256<float>>(threads),
            _ => Measure<Simd128, Vector128<float>>(threads),
        };
    }

    private static double Measure<S, V>(int threads)
        where S : ISimd<V> where V : struct
    {
        // The first call wakes the wide units; the second one says how many steps a window takes.
        Rate<S, V>(100_000);
        double flopsAStep = 2.0 * Accumulators * S.Width;
        long steps = Math.Max(1, (long)(Rate<S, V>(100_000) * WindowSeconds / flopsAStep));

        using var together = new Barrier(threads);
        double[] rates = new double[Windows * threads];
        var others = new Thread[threads - 1];
        for (int i = 0; i < others.Length; i++)
        {
            int thread = i + 1;
            others[i] = new Thread(() => Run<S, V>(thread, together, steps, rates)) { IsBackground = true };
            others[i].Start();
        }

        Run<S, V>(0, together, steps, rates);
        foreach (Thread other in others)
        {
            other.Join();
        }

        double best = 0;
        for (int window = 0; window < Windows; window++)
        {
            best = Math.Max(best, rates.AsSpan(window * threads, threads).ToArray().Sum());
        }

        return best * 1e-9;
    }

    private static void Run<S, V>(int thread, Barrier together, long steps, double[] rates)
        where S : ISimd<V> where V : struct
    {
        for (int window = 0; window < Windows; window++)
        {
            together.SignalAndWait();
            rates[(window * together.ParticipantCount) + thread] = Rate<S, V>(steps);
        }
    }

    // Operations a second over so many steps.
    private static double Rate<S, V>(long steps)
        where S : ISimd<V> where V : struct
    {
        long start = Stopwatch.GetTimestamp();
        float sum = Loop<S, V>(steps, 0.999f, 0.001f);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;

        // Every lane tends to 1: a loop that was optimised away would not.
        Debug.Assert(sum > 0, "The sums are positive.");
        return 2.0 * Accumulators * S.Width * steps / seconds;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static float Loop<S, V>(long steps, float factor, float addend)
        where S : ISimd<V> where V : struct
    {
        V f = S.Set(factor), a = S.Set(addend);
        V c0 = a, c1 = a, c2 = a, c3 = a, c4 = a, c5 = a, c6 = a, c7 = a, c8 = a, c9 = a, c10 = a, c11 = a;
        for (; steps > 0; steps--)
        {
            c0 = S.Fma(c0, f, a);
            c1 = S.Fma(c1, f, a);
            c2 = S.Fma(c2, f, a);
            c3 = S.Fma(c3, f, a);
            c4 = S.Fma(c4, f, a);
            c5 = S.Fma(c5, f, a);
            c6 = S.Fma(c6, f, a);
            c7 = S.Fma(c7, f, a);
            c8 = S.Fma(c8, f, a);
            c9 = S.Fma(c9, f, a);
            c10 = S.Fma(c10, f, a);
            c11 = S.Fma(c11, f, a);
        }

        V low = S.Add(S.Add(S.Add(c0, c1), S.Add(c2, c3)), S.Add(c4, c5));
        V high = S.Add(S.Add(S.Add(c6, c7), S.Add(c8, c9)), S.Add(c10, c11));
        return S.Sum(S.Add(low, high));
    }
}
