using Espalier.Benchmarking;
using Espalier.Cli.Display;
using Espalier.Inference;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Cli.Running;

/// <summary>Measures a model in all configurations of a plan.</summary>
/// <param name="Progress">Where progress is shown.</param>
/// <param name="Images">As many as the largest batch has.</param>
internal sealed record BenchRun(
    Terminal Progress, CancellationToken Cancel, BenchModel Model, InputImages Images, BenchPlan Plan)
{
    private const int AllocationCalls = 2;

    public (IReadOnlyDictionary<int, double> Peak, IReadOnlyList<BenchResult> Results) Measure()
    {
        int threads = Workers.Threads;
        using var scope = new Scope();
        Dictionary<int, Tensor> batches = Plan.BatchSizes.ToDictionary(n => n, First);
        var sessions = new Dictionary<Precision, Session>();
        var work = new List<BenchWork>();
        try
        {
            var peak = Plan.Threads.ToDictionary(t => t, PeakFma.Measure);
            BenchCase[] cases = [.. Plan.Cases()];
            Dictionary<BenchCase, (long Peak, long Allocated)> memory = MeasureMemory(cases, batches);
            work.AddRange(cases.Select(c => Work(c, batches[c.BatchSize], sessions)));
            // Training steps are held against these; nobody asked for them, so they are not among the results.
            BenchCase[] forwards = [.. cases.Where(c => c.Mode == BenchMode.Train).Select(c => c.Forward).Distinct()];
            TimedWork[] timed = [.. cases.Select((c, i) => Timed(c, work[i].Run)),
                .. forwards.Select(f => Timed(f, BenchWork.Forward(Model.Net, batches[f.BatchSize]).Run))];
            IReadOnlyList<long[]> samples =
                Watch.Run(Progress, "bench", 1, report => Plan.Rounds.Measure(timed, report, Cancel));
            var forward = forwards.Index()
                .ToDictionary(f => f.Item, f => SampleStatistics.Of(samples[cases.Length + f.Index]).P50);
            return (peak, [.. cases.Select((c, i) => new BenchResult(c, samples[i], work[i].MultiplyAdds, work[i].Tokens,
                memory[c].Peak, memory[c].Allocated, peak[c.Threads], c.Mode == BenchMode.Train ? forward[c.Forward] : null))]);
        }
        finally
        {
            foreach (BenchWork w in work) w.Dispose();
            foreach (Session session in sessions.Values) session.Dispose();
            Workers.Threads = threads;
        }
    }

    /// <param name="sessions">Those that are there already; one that is missing is made. All variants share them.</param>
    private BenchWork Work(BenchCase c, Tensor images, Dictionary<Precision, Session> sessions)
    {
        Workers.Threads = c.Threads;
        if (c.Mode == BenchMode.Train) return BenchWork.Training(Model.Net, c.Variant.Prunes, c.Checkpoints, images);
        if (!sessions.TryGetValue(c.Precision, out Session? session))
            sessions[c.Precision] = session = Model.Open(c.Precision);
        return BenchWork.Inference(session, c.Variant.Rule(session.Pruning), images);
    }

    private static TimedWork Timed(BenchCase c, Action run) => new(run, () => Workers.Threads = c.Threads);

    /// <summary>Each configuration by itself, before any is timed: bytes that it needs at most, and allocates a call.</summary>
    private Dictionary<BenchCase, (long Peak, long Allocated)> MeasureMemory(BenchCase[] cases, Dictionary<int, Tensor> batches)
    {
        var results = new Dictionary<BenchCase, (long Peak, long Allocated)>();
        // Training needs the model, which then stays.
        foreach (BenchCase c in cases.OrderBy(c => c.Mode))
        {
            Cancel.ThrowIfCancellationRequested();
            var sessions = new Dictionary<Precision, Session>();
            try
            {
                using BenchWork work = Work(c, batches[c.BatchSize], sessions);
                PeakMemory.Reset();
                work.Run();
                long allocated = long.MaxValue;
                for (int i = 0; i < AllocationCalls; i++)
                {
                    long before = GC.GetTotalAllocatedBytes(precise: true);
                    work.Run();
                    allocated = Math.Min(allocated, GC.GetTotalAllocatedBytes(precise: true) - before);
                }
                results[c] = (PeakMemory.Bytes, allocated);
            }
            finally
            {
                foreach (Session session in sessions.Values) session.Dispose();
            }
        }
        return results;
    }

    private Tensor First(int count)
    {
        Shape s = Images.Pixels.Shape;
        int image = (int)(Images.Pixels.Length / s[0]);
        return Tensor.From(new Shape(count, s[1], s[2], s[3]), Images.Pixels.Span[..(count * image)]);
    }
}
