using System.Buffers;
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Espalier.Distributed;

/// <summary>
/// The ranks that Open MPI's <c>mpirun</c> has started, by calls into <c>libmpi.so.40</c>. One thread of its own makes all of them,
/// as MPI wants it of programs that it does not lock for; while a sum is on its way it looks now and then and sleeps in between, so
/// that the processor goes on computing.
/// </summary>
public sealed unsafe class MpiRanks : IRanks, IDisposable
{
    private const string Library = "libmpi.so.40", SizeVariable = "OMPI_COMM_WORLD_SIZE", RankVariable = "OMPI_COMM_WORLD_RANK";

    /// <summary>MPI_THREAD_FUNNELED: one thread of several makes all calls.</summary>
    private const int OneThread = 1;

    /// <summary>Looks in a row that find nothing before the thread sleeps: while a message is moving, and while others have not come
    /// that far.</summary>
    private const int Busy = 1000, Quiet = 50;

    private static readonly TimeSpan Moved = TimeSpan.FromMicroseconds(3);

    private readonly BlockingCollection<Job> jobs = [];
    private readonly TaskCompletionSource<(int Rank, int Count)> started = new();
    private readonly Thread thread;
    private readonly nint library, world, single, twice, sum;
    private volatile bool failed;

    private MpiRanks(nint library)
    {
        this.library = library;
        // Handles are addresses of variables of the library.
        (world, single, twice, sum) = (Symbol("ompi_mpi_comm_world"), Symbol("ompi_mpi_float"), Symbol("ompi_mpi_double"), Symbol("ompi_mpi_op_sum"));
        thread = new Thread(Work) { IsBackground = true, Name = "mpi" };
        thread.Start();
        (Rank, Count) = started.Task.GetAwaiter().GetResult();
    }

    /// <inheritdoc/>
    public int Rank { get; }

    /// <inheritdoc/>
    public int Count { get; }

    /// <summary>How many processes mpirun has started with this one; 1 without it.</summary>
    public static int Started => int.TryParse(Environment.GetEnvironmentVariable(SizeVariable), out int count) && count > 1 ? count : 1;

    /// <summary>The number of this process among them, before they are joined.</summary>
    public static int StartedAs => int.TryParse(Environment.GetEnvironmentVariable(RankVariable), out int rank) && Started > 1 ? rank : 0;

    /// <summary>Joins the other processes; null where mpirun has started none.</summary>
    /// <exception cref="EspalierException">Open MPI's library is not there.</exception>
    public static MpiRanks? Join()
    {
        if (Started == 1) return null;
        if (!NativeLibrary.TryLoad(Library, out nint library))
            throw new EspalierException($"mpirun has started {Started} processes, but {Library} cannot be loaded; install Open MPI "
                + "(on Debian openmpi-bin) on every machine, or start the command without mpirun");
        return new MpiRanks(library);
    }

    /// <inheritdoc/>
    public Task Sum(Memory<float> values) => Add(values.Pin(), values.Length, single);

    /// <inheritdoc/>
    public Task Sum(Memory<double> values) => Add(values.Pin(), values.Length, twice);

    /// <summary>Ends all ranks at once, whatever they do; does not return.</summary>
    /// <param name="code">What mpirun ends with.</param>
    public void Abort(int code)
    {
        ((delegate* unmanaged<nint, int, int>)Symbol("MPI_Abort"))(world, code);
        Environment.Exit(code);
    }

    /// <summary>Waits for the other ranks to come to their end.</summary>
    public void Dispose()
    {
        jobs.CompleteAdding();
        thread.Join();
        jobs.Dispose();
    }

    private Task Add(MemoryHandle memory, int count, nint type)
    {
        var job = new Job(memory, count, type);
        jobs.Add(job);
        return job.Done.Task;
    }

    private void Work()
    {
        try
        {
            int provided, rank, count;
            Check("MPI_Init_thread", ((delegate* unmanaged<int*, byte***, int, int*, int>)Symbol("MPI_Init_thread"))(
                null, null, OneThread, &provided));
            Check("MPI_Comm_rank", ((delegate* unmanaged<nint, int*, int>)Symbol("MPI_Comm_rank"))(world, &rank));
            Check("MPI_Comm_size", ((delegate* unmanaged<nint, int*, int>)Symbol("MPI_Comm_size"))(world, &count));
            if (provided < OneThread) throw new EspalierException("this Open MPI was built for programs of one thread only");
            started.SetResult((rank, count));
        }
        catch (Exception e)
        {
            started.SetException(e);
            return;
        }
        foreach (Job job in jobs.GetConsumingEnumerable()) Run(job);
        if (!failed) ((delegate* unmanaged<int>)Symbol("MPI_Finalize"))();
    }

    private void Run(Job job)
    {
        try
        {
            nint request;
            // MPI_IN_PLACE is the address 1.
            Check("MPI_Iallreduce", ((delegate* unmanaged<nint, void*, int, nint, nint, nint, nint*, int>)Symbol("MPI_Iallreduce"))(
                1, job.Memory.Pointer, job.Count, job.Type, sum, world, &request));
            var test = (delegate* unmanaged<nint*, int*, nint, int>)Symbol("MPI_Test");
            int idle = 0, patience = Busy;
            while (true)
            {
                int done;
                long before = Stopwatch.GetTimestamp();
                Check("MPI_Test", test(&request, &done, 0));
                if (done != 0) break;
                // A look moves a piece of the message, if there is one, and takes its time then.
                if (Stopwatch.GetElapsedTime(before) > Moved) (idle, patience) = (0, Busy);
                else if (++idle >= patience)
                {
                    Thread.Sleep(1);
                    (idle, patience) = (0, Quiet);
                }
            }
            job.Memory.Dispose();
            job.Done.SetResult();
        }
        catch (EspalierException e)
        {
            failed = true;
            job.Done.SetException(e);
        }
    }

    private nint Symbol(string name) => NativeLibrary.TryGetExport(library, name, out nint address) ? address
        : throw new EspalierException($"{Library} has no {name}: another MPI than Open MPI, or a version that this program does not know");

    private static void Check(string call, int code)
    {
        if (code != 0) throw new EspalierException($"{call} failed with code {code}");
    }

    private sealed record Job(MemoryHandle Memory, int Count, nint Type)
    {
        // What waits must not go on in this thread.
        public TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
