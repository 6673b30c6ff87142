using Espalier.Benchmarking;
using Espalier.Cli.Display;
using Espalier.Compression.Apt;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Memory;
using Espalier.Tensors.Threading;

namespace Espalier.Cli.Running;

/// <summary>Measures a model in all configurations of a plan.</summary>
/// <param name="Progress">Where progress is shown.</param>
/// <param name="Images">As many as the largest batch has.</param>
internal sealed record BenchRun(
    Terminal Progress, CancellationToken Cancel, VisionTransformer Vit, AptModel? Apt, InputImages Images, BenchPlan Plan)
{
    private const int AllocationCalls = 2;

    public (IReadOnlyDictionary<int, double> Peak, IReadOnlyList<BenchResult> Results) Measure()
    {
        BenchCase[] cases = [.. Plan.Cases()];
        int threads = Workers.Threads;
        bool training = Vit.Training;
        using var scope = new Scope();
        var peak = Plan.Threads.ToDictionary(t => t, PeakFma.Measure);
        Dictionary<int, Tensor> batches = Plan.BatchSizes.ToDictionary(n => n, First);
        using VitSession session = Apt is null ? new VitSession(Vit) : new VitSession(Apt);
        BenchWork[] work = [.. cases.Select(c => Work(c, session, batches[c.BatchSize]))];
        // What training steps are held against; nobody asked for them, so they are not among the results.
        BenchCase[] forwards = [.. cases.Where(c => c.Mode == BenchMode.Train)
            .Select(c => new BenchCase(BenchMode.Infer, BenchCase.Dense, c.Threads, c.BatchSize)).Distinct()];
        try
        {
            (long Peak, long Allocated)[] memory = [.. work.Select((w, i) => Memory(cases[i], w))];
            TimedWork[] timed = [.. work.Select((w, i) => Timed(cases[i], w.Run)),
                .. forwards.Select(f => Timed(f, BenchWork.Inference(session, Pruning.None, batches[f.BatchSize]).Run))];
            IReadOnlyList<long[]> samples =
                Watch.Run(Progress, "bench", 1, report => Plan.Rounds.Measure(timed, report, Cancel));
            var forwardTimes = forwards.Select((f, i) => (f, SampleStatistics.Of(samples[work.Length + i]).P50))
                .ToDictionary(f => f.f, f => f.P50);
            return (peak, [.. cases.Select((c, i) => new BenchResult(c, samples[i], work[i].MultiplyAdds, work[i].Tokens,
                memory[i].Peak, memory[i].Allocated, peak[c.Threads], c.Mode == BenchMode.Train
                    ? forwardTimes[new BenchCase(BenchMode.Infer, BenchCase.Dense, c.Threads, c.BatchSize)] : null))]);
        }
        finally
        {
            foreach (BenchWork w in work) w.Dispose();
            Workers.Threads = threads;
            Vit.Training = training;
        }
    }

    private BenchWork Work(BenchCase c, VitSession session, Tensor images) => c.Mode == BenchMode.Infer
        ? BenchWork.Inference(session, c.Prunes ? session.Pruning : Pruning.None, images)
        : BenchWork.Training(Vit, c.Prunes ? Apt : null, images);

    private static TimedWork Timed(BenchCase c, Action run) => new(run, () => Workers.Threads = c.Threads);

    /// <summary>One configuration by itself, before any is timed: bytes that it needs at most, and allocates a call.</summary>
    private (long Peak, long Allocated) Memory(BenchCase c, BenchWork work)
    {
        Cancel.ThrowIfCancellationRequested();
        Workers.Threads = c.Threads;
        TensorPool.Trim();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        PeakMemory.Reset();
        work.Run();
        long allocated = long.MaxValue;
        for (int i = 0; i < AllocationCalls; i++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            work.Run();
            allocated = Math.Min(allocated, GC.GetTotalAllocatedBytes(precise: true) - before);
        }
        return (PeakMemory.Bytes, allocated);
    }

    private Tensor First(int count)
    {
        Shape s = Images.Pixels.Shape;
        int image = (int)(Images.Pixels.Length / s[0]);
        return Tensor.From(new Shape(count, s[1], s[2], s[3]), Images.Pixels.Span[..(count * image)]);
    }
}
