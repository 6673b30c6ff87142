using System.Diagnostics;
using System.Runtime;

namespace Espalier.Benchmarking;

/// <summary>One piece of work to be timed.</summary>
/// <param name="Run">One call, which is one sample.</param>
/// <param name="Before">Sets the stage for the calls that follow, untimed: the number of threads, say.</param>
public sealed record TimedWork(Action Run, Action? Before = null);

/// <summary>
/// Times several pieces of work in turn. Each round has a burst of calls of every piece, forwards in one round and backwards in
/// the next, so that a machine whose speed drifts is the same for all of them.
/// </summary>
public sealed record Rounds
{
    /// <summary>Calls of each piece before the clock counts, at least 1.</summary>
    public int WarmUp { get; init; } = 2;

    /// <summary>
    /// The warm-up goes on until for as long as this no call was faster than those before and nothing was compiled, or until ten
    /// times as long have passed: code that is called often is replaced more than once, each time after a few tenths of a second.
    /// </summary>
    public TimeSpan SettleTime { get; init; } = TimeSpan.FromSeconds(0.5);

    /// <summary>Rounds, and so the fewest samples of each piece.</summary>
    public int Repeats { get; init; } = 10;

    /// <summary>The samples of a piece take about as long together at least: quick calls are repeated within a round.</summary>
    public TimeSpan MinTime { get; init; } = TimeSpan.Zero;

    /// <summary>Warms up and measures.</summary>
    /// <param name="progress">Gets the share that is done, 0 to 1.</param>
    /// <returns>For each piece the time of every call in nanoseconds, in order.</returns>
    /// <exception cref="ArgumentOutOfRangeException">No warm-up or no repeats.</exception>
    public IReadOnlyList<long[]> Measure(IReadOnlyList<TimedWork> work, Action<double>? progress = null,
        CancellationToken cancel = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(WarmUp, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(Repeats, 1);
        int done = 0, total = work.Count * Repeats;
        int[] bursts = [.. Settle(work, cancel).Select(Burst)];
        List<long>[] samples = [.. bursts.Select(calls => new List<long>(calls * Repeats))];
        for (int round = 0; round < Repeats; round++)
        {
            for (int place = 0; place < work.Count; place++)
            {
                int i = round % 2 == 0 ? place : work.Count - 1 - place;
                work[i].Before?.Invoke();
                // The caches are full of another piece's data: quick calls start from their own.
                if (bursts[i] > 1) Call(work[i], cancel);
                for (int call = 0; call < bursts[i]; call++) samples[i].Add(Call(work[i], cancel));
                progress?.Invoke((double)++done / total);
            }
        }
        return [.. samples.Select(s => s.ToArray())];
    }

    /// <summary>The same for work that needs no stage.</summary>
    public IReadOnlyList<long[]> Measure(params Action[] work) => Measure([.. work.Select(w => new TimedWork(w))]);

    /// <summary>The warm-up alone, all pieces in turn: much of their code is the same.</summary>
    /// <returns>The fastest call of each piece in nanoseconds.</returns>
    public long[] Settle(IReadOnlyList<TimedWork> work, CancellationToken cancel = default)
    {
        const double faster = 0.97;
        long[] least = [.. work.Select(_ => long.MaxValue)];
        long start = Stopwatch.GetTimestamp(), changed = start, compiled = 0;
        for (int calls = 1; ; calls++)
        {
            for (int i = 0; i < work.Count; i++)
            {
                work[i].Before?.Invoke();
                long time = Call(work[i], cancel);
                if (time < faster * least[i]) changed = Stopwatch.GetTimestamp();
                least[i] = Math.Min(least[i], time);
            }
            if (compiled != (compiled = JitInfo.GetCompiledMethodCount())) changed = Stopwatch.GetTimestamp();
            bool settled = Stopwatch.GetElapsedTime(changed) >= SettleTime || Stopwatch.GetElapsedTime(start) >= 10 * SettleTime;
            if (calls >= WarmUp && settled) return least;
        }
    }

    private int Burst(long callNanoseconds) => (int)Math.Clamp(
        Math.Ceiling(MinTime.TotalNanoseconds / Repeats / Math.Max(callNanoseconds, 1)), 1, 1_000_000);

    private static long Call(TimedWork work, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        long start = Stopwatch.GetTimestamp();
        work.Run();
        return (long)Stopwatch.GetElapsedTime(start).TotalNanoseconds;
    }
}
