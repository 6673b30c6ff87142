using System.Threading.Channels;

namespace Espalier.Server;

/// <summary>
/// What several requests ask of one model, computed together: a queue of limited length and one worker, who takes what waits, as
/// much as goes into one batch. Nobody waits for a batch to become full.
/// </summary>
internal sealed class Batcher<TIn, TOut> : IAsyncDisposable
{
    private readonly Func<IReadOnlyList<TIn>, IReadOnlyList<TOut>> run;
    private readonly Func<TIn, object?> key;
    private readonly Action<TIn> release;
    private readonly Channel<Item> queue;
    private readonly int most;
    private readonly Task worker;

    /// <param name="run">Results of inputs that have the same key, in their order. One call at a time.</param>
    /// <param name="key">What must be the same of inputs that are computed together.</param>
    /// <param name="release">Is called once for each input when it is not needed any more, computed or not.</param>
    public Batcher(int most, int capacity, Func<IReadOnlyList<TIn>, IReadOnlyList<TOut>> run, Func<TIn, object?>? key = null,
        Action<TIn>? release = null)
    {
        (this.most, this.run, this.key, this.release) = (most, run, key ?? (_ => null), release ?? (_ => { }));
        queue = Channel.CreateBounded<Item>(new BoundedChannelOptions(capacity) { SingleReader = true });
        worker = Task.Factory.StartNew(Work, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    public int Waiting => queue.Reader.Count;

    /// <param name="waits">Whether it waits for room where the queue is full, and is not refused.</param>
    /// <param name="cancel">Ends the waiting; what is cancelled before its turn is not computed.</param>
    /// <returns>The answer to come, as soon as the input has its place in the queue.</returns>
    /// <exception cref="Refusal">The queue is full.</exception>
    public async Task<Task<TOut>> Ask(TIn input, bool waits, CancellationToken cancel)
    {
        var item = new Item(input, cancel);
        try
        {
            if (waits) await queue.Writer.WriteAsync(item, cancel);
            else if (!queue.Writer.TryWrite(item)) throw Refusal.Busy();
        }
        catch
        {
            release(input);
            throw;
        }
        return item.Answer.Task.WaitAsync(cancel);
    }

    /// <summary>Computes what is waiting, and then no more.</summary>
    public async ValueTask DisposeAsync()
    {
        queue.Writer.TryComplete();
        await worker;
    }

    private void Work()
    {
        var taken = new List<Item>(most);
        while (queue.Reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult())
        {
            while (taken.Count < most && queue.Reader.TryRead(out Item? item))
            {
                if (!item.Cancel.IsCancellationRequested) taken.Add(item);
                else release(item.Input);
            }
            foreach (IGrouping<object?, Item> group in taken.GroupBy(i => key(i.Input))) Answer([.. group]);
            foreach (Item item in taken) release(item.Input);
            taken.Clear();
        }
    }

    private void Answer(Item[] items)
    {
        try
        {
            IReadOnlyList<TOut> results = run([.. items.Select(i => i.Input)]);
            for (int i = 0; i < items.Length; i++) items[i].Answer.SetResult(results[i]);
        }
        catch (Exception e) when (items.Length == 1)
        {
            items[0].Answer.SetException(e);
        }
        catch (Exception)
        {
            // What fails must not fail its neighbours: each by itself says what it is.
            foreach (Item item in items) Answer([item]);
        }
    }

    private sealed record Item(TIn Input, CancellationToken Cancel)
    {
        public TaskCompletionSource<TOut> Answer { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
