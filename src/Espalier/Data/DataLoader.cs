using System.Collections.Concurrent;
using Espalier.Imaging;
using Espalier.Tensors;

namespace Espalier.Data;

/// <summary>A place in a training run: the batch that <see cref="DataLoader.Next"/> gives next.</summary>
public readonly record struct LoaderPosition(long Epoch, long BatchInEpoch);

/// <summary>
/// Turns a data set into batches, decoding some ahead on threads of its own. Every batch is a function of the seed, the epoch
/// and its number alone: threads and prefetch change only the speed. A picture that cannot be read and may be left out (see
/// <see cref="IImageDataset.Skip"/>) is missing from a single pass; in training the next one that can be read takes its
/// place, so that batches stay whole. Used by one thread at a time.
/// </summary>
public sealed class DataLoader : IDisposable
{
    private readonly IImageDataset dataset;
    private readonly ImagePipeline pipeline;
    private readonly bool shuffle;
    private readonly ulong seed;
    private readonly int prefetch;
    private readonly (int Index, int Count) share;
    private readonly ConcurrentBag<Batch> pool = [];
    private readonly BlockingCollection<BatchJob>? jobs;
    private readonly Thread[] workers;
    private BatchPass? training;
    private LoaderPosition position;
    private bool disposed;

    /// <param name="batchSize">N, pictures a batch.</param>
    /// <param name="shuffle">A new order each epoch; else the data set's order.</param>
    /// <param name="dropLast">Leaves out an epoch's last batch where it has fewer than N pictures.</param>
    /// <param name="threads">Decoding threads; 0 decodes on the caller's.</param>
    /// <param name="prefetch">Batches decoded ahead, at least 1.</param>
    /// <param name="share">Which of how many loaders this is, that have <see cref="Next"/> between them: of so many batches in a row, all
    /// of one epoch, each gives one.</param>
    /// <exception cref="EspalierException">No pictures, or fewer than one batch where the last is dropped.</exception>
    public DataLoader(IImageDataset dataset, ImagePipeline pipeline, int batchSize, bool shuffle = false, ulong seed = 0,
        bool dropLast = false, int threads = 2, int prefetch = 2, (int Index, int Count)? share = null)
    {
        ArgumentNullException.ThrowIfNull(dataset);
        ArgumentNullException.ThrowIfNull(pipeline);
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        ArgumentOutOfRangeException.ThrowIfLessThan(prefetch, 1);
        if (dataset.Count == 0) throw new EspalierException($"{dataset.Name}: the data set has no images.");
        if (dropLast && dataset.Count < batchSize)
            throw new EspalierException($"{dataset.Name}: {dataset.Count} images do not fill one batch of {batchSize}; "
                + "choose a smaller batch size.");
        this.dataset = dataset;
        this.pipeline = pipeline;
        this.shuffle = shuffle;
        this.seed = seed;
        this.prefetch = prefetch;
        this.share = share ?? (0, 1);
        BatchSize = batchSize;
        BatchesPerEpoch = dropLast ? dataset.Count / batchSize : (dataset.Count + batchSize - 1) / batchSize;
        if (threads > 0) jobs = [];
        workers = new Thread[threads];
        for (int i = 0; i < threads; i++)
        {
            workers[i] = new Thread(Work) { IsBackground = true, Name = $"data loader {i}" };
            workers[i].Start();
        }
    }

    public int BatchSize { get; }

    /// <summary>Batches in one epoch.</summary>
    public int BatchesPerEpoch { get; }

    /// <summary>
    /// The batch that <see cref="Next"/> gives next; (epoch + 1, 0) after an epoch's last. Setting it goes there, so that a
    /// resumed run sees what the uninterrupted one would have.
    /// </summary>
    public LoaderPosition Position
    {
        get => position;
        set
        {
            if (value.Epoch < 0 || value.BatchInEpoch < 0 || value.BatchInEpoch >= BatchesPerEpoch)
                throw new ArgumentOutOfRangeException(nameof(value), value, $"an epoch has {BatchesPerEpoch} batches");
            training?.Dispose();
            training = null;
            position = value;
        }
    }

    /// <summary>The next batch, epoch after epoch without end.</summary>
    /// <exception cref="EspalierException">A picture cannot be read; the position stays, and a repeat tries again.</exception>
    public Batch Next()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        training ??= new BatchPass(this, position, endless: true);
        try
        {
            var batch = training.Take()!;
            position = After(position, share.Count);
            return batch;
        }
        catch
        {
            Position = position;
            throw;
        }
    }

    /// <summary>One pass over the data set in the order of epoch 0. Does not move <see cref="Position"/>.</summary>
    /// <exception cref="EspalierException">No picture can be read.</exception>
    public IEnumerable<Batch> Once()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        using var pass = new BatchPass(this, default, endless: false);
        bool any = false;
        while (pass.Take() is { } batch)
        {
            if (batch.Count == 0) continue;
            any = true;
            yield return batch;
        }
        if (!any) throw new EspalierException($"{dataset.Name}: none of the {dataset.Count} images can be read.");
    }

    /// <summary>The same, each batch in a scope and given back after it.</summary>
    /// <param name="done">Is told how many batches are done.</param>
    internal IEnumerable<Batch> Once(Action<int> done, CancellationToken cancel)
    {
        int count = 0;
        foreach (Batch batch in Once())
        {
            cancel.ThrowIfCancellationRequested();
            using (new Scope()) yield return batch;
            batch.Recycle();
            done(++count);
        }
    }

    public void Dispose()
    {
        if (disposed) return;
        disposed = true;
        training?.Dispose();
        jobs?.CompleteAdding();
        foreach (var worker in workers) worker.Join();
        jobs?.Dispose();
    }

    private LoaderPosition After(LoaderPosition p, int batches) => p.BatchInEpoch + 2 * batches <= BatchesPerEpoch
        ? p with { BatchInEpoch = p.BatchInEpoch + batches } : new(p.Epoch + 1, 0);

    private int[] Order(long epoch)
    {
        int[] order = [.. Enumerable.Range(0, dataset.Count)];
        // Key 0 is the order's; picture i has key i + 1.
        if (shuffle) new Rng(seed, (ulong)epoch).Shuffle(order.AsSpan());
        return order;
    }

    private void Work()
    {
        foreach (var job in jobs!.GetConsumingEnumerable()) job.Run(this);
    }

    private Batch Make(ReadOnlySpan<int> indices, long epoch, bool whole)
    {
        int size = pipeline.Channels * pipeline.ImageSize * pipeline.ImageSize, count = 0;
        Batch? batch = null;
        // Only whole batches come back to the pool, so any of them fits.
        if (indices.Length == BatchSize && pool.TryTake(out batch)) batch.TakeFromPool();
        batch ??= new Batch(indices.Length, size, indices.Length == BatchSize ? pool : null);
        foreach (int asked in indices)
        {
            int index = asked;
            if (Read(ref index, whole) is not { } image) continue;
            var rng = new Rng(seed, (ulong)epoch, (ulong)index + 1);
            batch.Indices[count] = index;
            batch.Labels[count] = dataset.Label(index);
            pipeline.Run(image, ref rng, batch.Pixels.AsSpan(count++ * size, size));
        }
        return count == indices.Length ? batch : batch.First(count, size);
    }

    /// <summary>The picture, or else the first behind it that can be read where a batch is to be whole, or else null.</summary>
    private Image? Read(ref int index, bool whole)
    {
        for (int tries = 1; ; tries++)
        {
            try
            {
                return dataset.ReadImage(index);
            }
            catch (EspalierException e) when (dataset.Skip(index, e))
            {
                if (!whole) return null;
                if (tries >= dataset.Count) throw;
                index = (index + 1) % dataset.Count;
            }
        }
    }

    /// <summary>Batches asked for ahead, handed out in order.</summary>
    private sealed class BatchPass(DataLoader loader, LoaderPosition start, bool endless) : IDisposable
    {
        private readonly Queue<BatchJob> ahead = new();
        private readonly long firstEpoch = start.Epoch;
        private LoaderPosition planned = start;
        private int[]? order;

        /// <summary>The next batch; null at the end.</summary>
        public Batch? Take()
        {
            while (ahead.Count < loader.prefetch && (endless || planned.Epoch == firstEpoch)) ahead.Enqueue(Plan());
            if (!ahead.TryDequeue(out var job)) return null;
            if (loader.jobs == null) job.Run(loader);
            return job.Wait();
        }

        public void Dispose()
        {
            foreach (var job in ahead) job.Cancel();
            ahead.Clear();
        }

        private BatchJob Plan()
        {
            order ??= loader.Order(planned.Epoch);
            (int index, int count) = endless ? loader.share : (0, 1);
            int first = checked((int)(planned.BatchInEpoch + index) * loader.BatchSize);
            var indices = order.AsMemory(first, Math.Min(loader.BatchSize, order.Length - first));
            var job = new BatchJob(indices, planned.Epoch, endless);
            long epoch = planned.Epoch;
            planned = loader.After(planned, count);
            if (planned.Epoch != epoch) order = null;
            loader.jobs?.Add(job);
            return job;
        }
    }

    private sealed class BatchJob(ReadOnlyMemory<int> indices, long epoch, bool whole)
    {
        private readonly TaskCompletionSource<Batch?> result = new();
        private volatile bool cancelled;

        public void Run(DataLoader loader)
        {
            if (cancelled)
            {
                result.SetResult(null);
                return;
            }
            try
            {
                result.SetResult(loader.Make(indices.Span, epoch, whole));
            }
            catch (Exception e)
            {
                // Thrown again on the thread that asks for the batch.
                result.SetException(e);
            }
        }

        public Batch? Wait() => result.Task.GetAwaiter().GetResult();

        public void Cancel()
        {
            cancelled = true;
            // A batch that was finished for nobody goes back to the pool; an error nobody waits for is looked at and dropped.
            result.Task.ContinueWith(static t =>
            {
                if (t.IsCompletedSuccessfully) t.Result?.Recycle();
                else _ = t.Exception;
            }, TaskContinuationOptions.ExecuteSynchronously);
        }
    }
}
