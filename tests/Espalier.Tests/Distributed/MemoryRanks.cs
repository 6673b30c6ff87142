using System.Numerics;
using Espalier.Distributed;

namespace Espalier.Tests.Distributed;

/// <summary>Ranks that are threads of this process.</summary>
internal sealed class MemoryRanks : IRanks
{
    private readonly Meeting meeting;
    private int calls;

    private MemoryRanks(Meeting meeting, int rank) => (this.meeting, Rank) = (meeting, rank);

    public int Rank { get; }

    public int Count => meeting.Count;

    /// <summary>Runs the same on so many ranks and gives what each came to; the first error is thrown.</summary>
    public static T[] Run<T>(int count, Func<IRanks, T> work)
    {
        var meeting = new Meeting(count);
        Task<T>[] all = [.. Enumerable.Range(0, count).Select(rank => Task.Factory.StartNew(
            () => work(new MemoryRanks(meeting, rank)), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
        // One that fails leaves the others waiting.
        while (all.All(t => !t.IsFaulted) && all.Any(t => !t.IsCompleted)) Thread.Sleep(5);
        if (all.FirstOrDefault(t => t.IsFaulted) is { } failed) failed.GetAwaiter().GetResult();
        return [.. all.Select(t => t.Result)];
    }

    public Task Sum(Memory<float> values) => meeting.Add(calls++, Rank, values);

    public Task Sum(Memory<double> values) => meeting.Add(calls++, Rank, values);

    private sealed class Meeting(int count)
    {
        private readonly Dictionary<int, object> open = [];

        public int Count => count;

        public Task Add<T>(int call, int rank, Memory<T> values)
            where T : struct, INumber<T>
        {
            lock (open)
            {
                if (!open.TryGetValue(call, out object? found)) open[call] = found = new Adding<T>(count);
                // Another type or length at the same place is a fault of the caller.
                var sum = (Adding<T>)found;
                sum.Add(rank, values);
                return sum.Done.Task;
            }
        }
    }

    private sealed class Adding<T>(int count)
        where T : struct, INumber<T>
    {
        private readonly Memory<T>[] parts = new Memory<T>[count];
        private int there;

        public TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public void Add(int rank, Memory<T> values)
        {
            parts[rank] = values;
            if (++there < count) return;
            Assert.All(parts, p => Assert.Equal(values.Length, p.Length));
            for (int i = 0; i < values.Length; i++)
            {
                T sum = T.Zero;
                foreach (Memory<T> p in parts) sum += p.Span[i];
                foreach (Memory<T> p in parts) p.Span[i] = sum;
            }
            Done.SetResult();
        }
    }
}
