namespace Espalier.Peers;

/// <summary>Processor time of other processes, from Linux's /proc.</summary>
internal static class CpuClock
{
    private const int StepMilliseconds = 20;
    private const int LimitMilliseconds = 5000;

    /// <summary>Returns when a process used less than a hundredth of a processor for two steps of 20 ms, or after 5 s.</summary>
    public static void WaitUntilIdle(int processId)
    {
        int quiet = 0;
        long before = Nanoseconds(processId);
        for (int waited = 0; quiet < 2 && waited < LimitMilliseconds; waited += StepMilliseconds)
        {
            Thread.Sleep(StepMilliseconds);
            long now = Nanoseconds(processId);
            quiet = now - before < StepMilliseconds * 10_000 ? quiet + 1 : 0;
            before = now;
        }
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
}
