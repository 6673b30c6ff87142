using System.Globalization;

namespace Espalier.Peers;

/// <summary>Processor time of other processes, from Linux's /proc.</summary>
internal static class CpuClock
{
    private const int StepMilliseconds = 20;
    private const int LimitMilliseconds = 5000;

    private static long busyTicks, allTicks;

    /// <summary>The share of the processors that others had while all sides slept, other guests of the machine included: near 0
    /// wherever figures are to mean something.</summary>
    public static double OthersShare => (double)busyTicks / Math.Max(allTicks, 1);

    /// <summary>Returns when a process used less than a hundredth of a processor for two steps of 20 ms, or after 5 s.</summary>
    public static void WaitUntilIdle(int processId)
    {
        int quiet = 0;
        long before = Nanoseconds(processId);
        (long Busy, long All) ticks = MachineTicks();
        for (int waited = 0; quiet < 2 && waited < LimitMilliseconds; waited += StepMilliseconds)
        {
            Thread.Sleep(StepMilliseconds);
            long now = Nanoseconds(processId);
            bool idle = now - before < StepMilliseconds * 10_000;
            ticks = Since(ticks, count: idle);
            quiet = idle ? quiet + 1 : 0;
            before = now;
        }
    }

    /// <summary>A pause in which no side computes, to see what others do.</summary>
    public static void Rest()
    {
        var ticks = MachineTicks();
        Thread.Sleep(2 * StepMilliseconds);
        Since(ticks, count: true);
    }

    private static (long Busy, long All) Since((long Busy, long All) before, bool count)
    {
        var now = MachineTicks();
        if (count) (busyTicks, allTicks) = (busyTicks + now.Busy - before.Busy, allTicks + now.All - before.All);
        return now;
    }

    /// <summary>Nanoseconds that all living threads of a process have run.</summary>
    private static long Nanoseconds(int processId)
    {
        long sum = 0;
        foreach (string task in Directory.EnumerateDirectories($"/proc/{processId}/task"))
        {
            try
            {
                sum += long.Parse(File.ReadAllText(Path.Combine(task, "schedstat")).Split(' ')[0]);
            }
            catch (IOException)
            {
                // The thread ended between the listing and the reading.
            }
        }
        return sum;
    }

    /// <summary>Of all processors together since the machine began.</summary>
    private static (long Busy, long All) MachineTicks()
    {
        using var stat = new StreamReader("/proc/stat");
        return Ticks(stat.ReadLine()!);
    }

    /// <summary>user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in user already.</summary>
    internal static (long Busy, long All) Ticks(string line)
    {
        long[] ticks = [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1..9]
            .Select(t => long.Parse(t, CultureInfo.InvariantCulture))];
        long all = ticks.Sum();
        return (all - ticks[3] - ticks[4], all);
    }
}
