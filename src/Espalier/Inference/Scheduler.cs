using System.Diagnostics;
using System.Numerics;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Inference;

/// <summary>
/// Spreads the images of a call over threads, in one of two ways: each thread runs the whole network on chunks of its own, in a
/// lane of its own; or the images go through one lane, each step being shared by all threads. The calls of a size time both, see
/// <see cref="Trial"/>. Which it is shows in the time only: an image's result is the same.
/// </summary>
/// <param name="tries">Whether both are tried; else it is the one that the sizes of network and call speak for.</param>
internal sealed unsafe class Scheduler(Plan plan, long multiplyAdds, bool tries) : IDisposable
{
    /// <summary>Bytes of maps that a chunk should not exceed, so that they stay in the second-level cache.</summary>
    private const long ChunkBytes = 640 << 10;

    /// <summary>Bytes of maps a thread that shared steps should not exceed, so that they stay in the last-level cache.</summary>
    private const long SharedBytes = 8 << 20;

    /// <summary>Bytes of weights that are worth one more image in shared steps.</summary>
    private const long WeightsAnImage = 128 << 20;

    /// <summary>Images of tokens whose steps are shared: enough rows for a product, even where most tokens are dropped.</summary>
    private const int SharedTokens = 16;

    /// <summary>Bytes of weights, where there are more than the last-level cache holds, that are worth a byte of maps in a chunk.
    /// </summary>
    private const int WeightsAChunk = 8;

    /// <summary>Most images of a chunk.</summary>
    private const int MostImages = 64;

    /// <summary>Of more weights than the last-level cache holds, multiply-adds of an image a byte below which shared steps are the
    /// first guess: chunks of few images would wait for the weights, as those of VGG do for its last layers.</summary>
    private const long SharedBelow = 32, CacheBytes = 32 << 20;

    /// <summary>Chunks that a thread takes at least of images that may come to differ in length, where weights are light.</summary>
    private const int UnevenRounds = 2;

    private readonly Plan plan = plan;
    private readonly Lane?[] lanes = new Lane?[Workers.MaxThreads];
    private readonly Trial?[]?[] trials = new Trial?[Workers.MaxThreads + 1][];
    private Lane? shared;
    private Tensor? memory;

    /// <summary>How many images are run at a time in each of the two ways.</summary>
    /// <returns>Images of a lane whose steps are shared, and of the chunks of a thread, of which each has so many.</returns>
    public static (int Shared, int Chunk, int Rounds) Pieces(long floatsPerImage, long weightBytes, int tokens, int batch, int threads,
        bool uneven = false)
    {
        long bytes = Math.Max(1, sizeof(float) * floatsPerImage);
        long shared = Math.Max(SharedBytes * threads / bytes, weightBytes / WeightsAnImage);
        // Weights that no cache holds are read once for all images of a chunk.
        bool heavy = weightBytes > CacheBytes;
        long chunk = heavy ? Math.Max(ChunkBytes, weightBytes / WeightsAChunk) : ChunkBytes;
        // As many chunks for each thread; several where images come to differ in length.
        int together = threads * (int)Math.Clamp(chunk / bytes, 1, MostImages);
        int rounds = Math.Max((batch + together - 1) / together, uneven && !heavy ? UnevenRounds : 1), count = Math.Min(batch, threads * rounds);
        return (Math.Min(batch, (int)Math.Clamp(shared, tokens > 0 ? SharedTokens : 1, MostImages)), (batch + count - 1) / count, rounds);
    }

    private (int Shared, int Chunk, int Rounds) Pieces(in Call call, int threads) =>
        Pieces(plan.FloatsPerImage, plan.WeightBytes, plan.Tokens, call.Batch, threads, call.Uneven);

    public void Run(in Call call)
    {
        if (call.Batch == 0) return;
        int threads = Workers.Available;
        bool share = call.Batch < threads || (plan.WeightBytes > CacheBytes && multiplyAdds < SharedBelow * plan.WeightBytes);
        Trial? trial = tries ? Of(call, threads, share) : null;
        if (trial is not null) share = trial.Way;
        long started = Stopwatch.GetTimestamp();
        if (share) Shared(call, threads);
        else Chunks(call, threads);
        trial?.Note(Stopwatch.GetTimestamp() - started, call.Batch);
    }

    public void Dispose()
    {
        memory?.Dispose();
        shared?.Dispose();
        foreach (Lane? lane in lanes) lane?.Dispose();
    }

    /// <summary>The trial of calls like this one: of about as many images, uneven or not.</summary>
    private Trial Of(in Call call, int threads, bool guess)
    {
        Trial?[] sizes = trials[threads] ??= new Trial?[2 * 32];
        return sizes[2 * BitOperations.Log2((uint)call.Batch) + (call.Uneven ? 1 : 0)] ??= new Trial(guess);
    }

    private void Shared(in Call call, int threads)
    {
        int size = Pieces(call, threads).Shared;
        float* room = Room(size);
        Ready(ref shared, size);
        for (int start = 0; start < call.Batch; start += size)
            Piece(shared!, room, call, start, Math.Min(size, call.Batch - start));
    }

    private void Chunks(in Call call, int threads)
    {
        var (_, most, rounds) = Pieces(call, threads);
        int count = Math.Min(call.Batch, threads * rounds), used = Math.Min(threads, count);
        float* room = Room(used * most);
        for (int i = 0; i < used; i++) Ready(ref lanes[i], most);
        int next = 0;
        var job = new ChunkJob(this, call, room, most, count, &next);
        if (used > 1) Workers.For(used, 1, job);
        else using (Workers.Alone()) job.Run(0, 1, 0);
    }

    private void Piece(Lane lane, float* room, in Call call, int start, int count)
    {
        lane.Begin(room, count, call.Keep, call.Trace, start);
        plan.Run(lane, call.Images + (nint)start * (nint)plan.InputValues, call.Results, start, call.Batch);
    }

    private void Ready(ref Lane? lane, int images)
    {
        if (lane is not null && lane.Capacity >= images) return;
        lane?.Dispose();
        lane = null;
        lane = new Lane(plan.Axes, images);
    }

    /// <summary>Memory for so many images of one lane after another.</summary>
    private float* Room(int images)
    {
        long floats = plan.FloatsPerImage * images;
        if (memory is null || memory.Length < floats)
        {
            memory?.Dispose();
            memory = null;
            memory = Tensor.Unscoped(new Shape(checked((int)floats)));
        }
        return memory.Data;
    }

    /// <summary>What one call works on.</summary>
    /// <param name="uneven">Whether images may come to have different numbers of rows.</param>
    public readonly struct Call(float* images, float* results, int batch, KeepRule? keep, TokenTrace? trace, bool uneven)
    {
        public readonly float* Images = images;
        public readonly float* Results = results;
        public readonly int Batch = batch;
        public readonly KeepRule? Keep = keep;
        public readonly TokenTrace? Trace = trace;
        public readonly bool Uneven = uneven;
    }

    /// <summary>Each thread takes chunks until none is left.</summary>
    private readonly struct ChunkJob(Scheduler scheduler, Call call, float* room, int most, int count, int* next) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int lane = start; lane < end; lane++)
            {
                float* own = room + (nint)(lane * scheduler.plan.FloatsPerImage * most);
                while (true)
                {
                    int index = Interlocked.Increment(ref *next) - 1;
                    if (index >= count) break;
                    int first = (int)((long)call.Batch * index / count), after = (int)((long)call.Batch * (index + 1) / count);
                    scheduler.Piece(scheduler.lanes[lane]!, own, call, first, after - first);
                }
            }
        }
    }
}
