using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;

namespace Espalier.Tensors.Threading;

/// <summary>Work over a range of items; a struct, so that a call allocates nothing and is compiled for its type.</summary>
public interface IRangeJob
{
    /// <summary>Does items <paramref name="start"/> (included) to <paramref name="end"/> (excluded).</summary>
    /// <param name="worker">Which of the call's ranges this is, 0 to <see cref="Workers.Parts"/> - 1: an index for scratch
    /// that belongs to the call. It does not name a thread: a range may run on any.</param>
    void Run(int start, int end, int worker);
}

/// <summary>A process-wide pool of threads that spin for a moment and then sleep. The split of a range depends on nothing but
/// its length, the grain and <see cref="Threads"/>, so that results repeat bit for bit.</summary>
public static unsafe class Workers
{
    /// <summary>The most threads that <see cref="Threads"/> may be set to.</summary>
    public const int MaxThreads = 256;

    private static readonly Worker?[] Pool = new Worker?[MaxThreads];
    private static readonly Signal Done = new();
    private static int threads;
    private static int busy;
    private static int pending;
    private static int sequence;

    [ThreadStatic]
    private static bool insideJob;

    /// <summary>How many threads share the work, the caller among them: 1 to 256. At first the environment variable
    /// ESPALIER_THREADS, or else the number of processors. Setting it holds for the whole process.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is not 1 to 256.</exception>
    /// <exception cref="EspalierException">ESPALIER_THREADS is not a number from 1 to 256.</exception>
    public static int Threads
    {
        get => threads != 0 ? threads : threads = FromEnvironment();
        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value, MaxThreads);
            threads = value;
        }
    }

    /// <summary>How many threads a kernel called here can have: <see cref="Threads"/>, or 1 inside a job, whose other threads
    /// are busy with the rest of it.</summary>
    public static int Available => insideJob ? 1 : Threads;

    /// <summary>How many ranges <see cref="For"/> cuts <paramref name="count"/> items into: each has at least
    /// <paramref name="grain"/> items, except where there is only one range.</summary>
    public static int Parts(int count, int grain) => count <= 0 ? 0 : Math.Max(1, Math.Min(Threads, count / Math.Max(1, grain)));

    /// <summary>Runs <paramref name="job"/> over 0 .. <paramref name="count"/> - 1 in contiguous ranges, one a thread, the caller
    /// doing the first, and returns when all are done. A call from inside a job, and a call while another thread has the
    /// pool, does the same ranges one after another on its own thread.</summary>
    /// <param name="count">Number of items; nothing happens for 0.</param>
    /// <param name="grain">Fewest items worth a thread.</param>
    /// <param name="job">Copied once; all ranges see the same copy. An exception from it is thrown again here, that of the
    /// lowest range if there are several, after all ranges have ended.</param>
    public static void For<TJob>(int count, int grain, in TJob job)
        where TJob : struct, IRangeJob
    {
        int parts = Parts(count, grain);
        TJob copy = job;
        if (parts <= 1)
        {
            if (parts == 1)
            {
                copy.Run(0, count, 0);
            }

            return;
        }

        if (insideJob || Interlocked.CompareExchange(ref busy, 1, 0) != 0)
        {
            // Kernels inside find one thread, as they do inside a range that the pool runs: their own split decides the last bits.
            using AloneBlock alone = Alone();
            for (int part = 0; part < parts; part++)
            {
                copy.Run(Bound(count, parts, part), Bound(count, parts, part + 1), part);
            }

            return;
        }

        // The pointer stays good: the copy lives on this stack until every worker has signalled.
        Dispatch(Unsafe.AsPointer(ref copy), &Invoke<TJob>, count, parts);
    }

    /// <summary>What this thread does inside the returned block it does alone, as inside a job:
    /// <c>using (Workers.Alone()) ...</c></summary>
    public static AloneBlock Alone() => new(insideJob);

    private static void Invoke<TJob>(void* job, int start, int end, int worker)
        where TJob : struct, IRangeJob => Unsafe.AsRef<TJob>(job).Run(start, end, worker);

    private static void Dispatch(void* job, delegate*<void*, int, int, int, void> run, int count, int parts)
    {
        Exception? error = null;
        try
        {
            for (int part = 1; part < parts; part++)
            {
                Pool[part] ??= new Worker(part);
            }

            int ticket = ++sequence;
            Volatile.Write(ref pending, parts - 1);
            for (int part = 1; part < parts; part++)
            {
                Pool[part]!.Start(job, run, Bound(count, parts, part), Bound(count, parts, part + 1), ticket);
            }

            insideJob = true;
            try
            {
                run(job, 0, Bound(count, parts, 1), 0);
            }
            catch (Exception e)
            {
                error = e;
            }

            insideJob = false;
            Done.WaitFor(ticket);
            for (int part = 1; part < parts; part++)
            {
                error ??= Pool[part]!.Error;
                Pool[part]!.Error = null;
            }
        }
        finally
        {
            Volatile.Write(ref busy, 0);
        }

        if (error is not null)
        {
            ExceptionDispatchInfo.Throw(error);
        }
    }

    private static int Bound(int count, int parts, int part) => (int)((long)count * part / parts);

    private static int FromEnvironment()
    {
        string? text = Environment.GetEnvironmentVariable("ESPALIER_THREADS");
        if (string.IsNullOrEmpty(text))
        {
            return Math.Clamp(Environment.ProcessorCount, 1, MaxThreads);
        }

        return int.TryParse(text, out int value) && value is >= 1 and <= MaxThreads
            ? value
            : throw new EspalierException($"ESPALIER_THREADS is \"{text}\": set it to a number from 1 to {MaxThreads}");
    }

    /// <summary>Lets other threads help again when disposed.</summary>
    public readonly struct AloneBlock : IDisposable
    {
        private readonly bool before;

        internal AloneBlock(bool before)
        {
            this.before = before;
            insideJob = true;
        }

        public void Dispose() => insideJob = before;
    }

    private sealed class Worker
    {
        private readonly Signal go = new();
        private readonly int part;
        private void* job;
        private delegate*<void*, int, int, int, void> run;
        private int start;
        private int end;
        private int ticket;

        public Worker(int part)
        {
            this.part = part;
            ticket = go.Value;
            new Thread(Loop) { IsBackground = true, Name = $"Espalier worker {part}" }.Start();
        }

        public Exception? Error { get; set; }

        public void Start(void* newJob, delegate*<void*, int, int, int, void> newRun, int from, int to, int newTicket)
        {
            job = newJob;
            run = newRun;
            start = from;
            end = to;
            go.Set(newTicket);
        }

        private void Loop()
        {
            insideJob = true;
            while (true)
            {
                ticket = go.WaitWhile(ticket);
                try
                {
                    run(job, start, end, part);
                }
                catch (Exception e)
                {
                    Error = e;
                }

                if (Interlocked.Decrement(ref pending) == 0)
                {
                    Done.Set(ticket);
                }
            }
        }
    }
}
