using System.Diagnostics;

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

    /// <summary>The warm-up goes on for as long at least: just-in-time compilation takes that to settle.</summary>
    public TimeSpan WarmUpTime { get; init; } = TimeSpan.FromMilliseconds(500);

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
        int done = 0, total = work.Count * (1 + Repeats);
        int[] bursts = [.. work.Select(w =>
        {
            int calls = Burst(Warm(w, cancel));
            progress?.Invoke((double)++done / total);
            return calls;
        })];
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

    /// <returns>The shortest call in nanoseconds.</returns>
    private long Warm(TimedWork work, CancellationToken cancel)
    {
        work.Before?.Invoke();
        long start = Stopwatch.GetTimestamp(), least = long.MaxValue;
        for (int i = 0; i < WarmUp || Stopwatch.GetElapsedTime(start) < WarmUpTime; i++)
            least = Math.Min(least, Call(work, cancel));
        return least;
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
