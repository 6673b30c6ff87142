using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Threading;

[Collection("Workers")]
public sealed class WorkersTests : IDisposable
{
    private readonly int before = Workers.Threads;

    public void Dispose() => Workers.Threads = before;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(8)]
    public void EveryItemIsDoneOnceByTheSameRange(int threads)
    {
        Workers.Threads = threads;
        for (int count = 0; count < 70; count++)
        {
            for (int grain = 1; grain < 20; grain += 3)
            {
                var first = new int[count];
                var second = new int[count];
                Workers.For(count, grain, new MarkJob { Owner = first });
                Workers.For(count, grain, new MarkJob { Owner = second });
                Assert.Equal(first, second);
                for (int i = 0; i < count; i++)
                {
                    Assert.InRange(first[i], 1, Workers.Parts(count, grain));
                    Assert.True(i == 0 || first[i] >= first[i - 1]);
                }
            }
        }
    }

    [Fact]
    public void ShortRangesStayOnTheCaller()
    {
        Workers.Threads = 8;
        var ids = new int[10];
        Workers.For(10, 10, new ThreadJob { Ids = ids });
        Assert.All(ids, id => Assert.Equal(Environment.CurrentManagedThreadId, id));
    }

    [Fact]
    public void LongRangesUseOtherThreads()
    {
        Workers.Threads = 4;
        var ids = new int[4];
        Workers.For(4, 1, new ThreadJob { Ids = ids });
        Assert.Equal(4, ids.Distinct().Count());
        Assert.Equal(Environment.CurrentManagedThreadId, ids[0]);
    }

    [Fact]
    public void InsideAJobOneThreadIsAvailable()
    {
        Workers.Threads = 4;
        var available = new int[4];
        Workers.For(4, 1, new AvailableJob { Found = available });
        Assert.All(available, n => Assert.Equal(1, n));
        Assert.Equal(4, Workers.Available);
    }

    /// <summary>Kernels split their own work by it, so another number there would give other last bits.</summary>
    [Fact]
    public void OneThreadIsAvailableInsideAJobThatFindsThePoolTaken()
    {
        Workers.Threads = 4;
        using ManualResetEventSlim taken = new(), done = new();
        var holder = new Thread(() => Workers.For(4, 1, new HoldJob { Taken = taken, Done = done }));
        holder.Start();
        taken.Wait();
        var available = new int[4];
        Workers.For(4, 1, new AvailableJob { Found = available });
        int after = Workers.Available;
        done.Set();
        holder.Join();
        Assert.All(available, n => Assert.Equal(1, n));
        Assert.Equal(4, after);
    }

    [Fact]
    public void NestedCallsRunTheSameRangesInline()
    {
        Workers.Threads = 3;
        var sums = new int[30];
        Workers.For(30, 1, new NestedJob { Sums = sums });
        Assert.All(sums, sum => Assert.Equal(100, sum));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(5)]
    [InlineData(7)]
    public void AnExceptionReachesTheCallerAndThePoolLivesOn(int bad)
    {
        Workers.Threads = 4;
        for (int round = 0; round < 20; round++)
        {
            var e = Assert.Throws<InvalidOperationException>(() => Workers.For(8, 1, new ThrowJob { Bad = bad }));
            Assert.Equal($"item {bad}", e.Message);
            EveryItemIsDoneOnceByTheSameRange(4);
        }
    }

    [Fact]
    public void SeveralCallersAtOnceAreAllServed()
    {
        Workers.Threads = 3;
        var callers = new Thread[6];
        int wrong = 0;
        for (int c = 0; c < callers.Length; c++)
        {
            callers[c] = new Thread(() =>
            {
                var owner = new int[64];
                for (int round = 0; round < 300; round++)
                {
                    Array.Clear(owner);
                    Workers.For(64, 1, new MarkJob { Owner = owner });
                    if (owner[0] != 1 || owner[63] != 3 || Array.IndexOf(owner, 0) >= 0)
                    {
                        Interlocked.Increment(ref wrong);
                    }
                }
            });
        }

        Array.ForEach(callers, caller => caller.Start());
        Array.ForEach(callers, caller => caller.Join());
        Assert.Equal(0, wrong);
    }

    [Fact]
    public void SleepingWorkersWakeUp()
    {
        Workers.Threads = 2;
        var ids = new int[2];
        for (int round = 0; round < 20; round++)
        {
            Thread.Sleep(2);
            Array.Clear(ids);
            Workers.For(2, 1, new ThreadJob { Ids = ids });
            Assert.DoesNotContain(0, ids);
        }
    }

    [Fact]
    public void ACallAllocatesNothing()
    {
        Workers.Threads = 4;
        var job = new MarkJob { Owner = new int[64] };
        Workers.For(64, 1, job);
        long start = GC.GetAllocatedBytesForCurrentThread();
        for (int round = 0; round < 100; round++)
        {
            Workers.For(64, 1, job);
        }

        Assert.Equal(start, GC.GetAllocatedBytesForCurrentThread());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(257)]
    public void ThreadsOutOfRangeIsRefused(int threads) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => Workers.Threads = threads);

    private struct MarkJob : IRangeJob
    {
        public int[] Owner;

        public readonly void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                Owner[i] += worker + 1;
            }
        }
    }

    private struct ThreadJob : IRangeJob
    {
        public int[] Ids;

        public readonly void Run(int start, int end, int worker) =>
            Ids.AsSpan(start, end - start).Fill(Environment.CurrentManagedThreadId);
    }

    private struct AvailableJob : IRangeJob
    {
        public int[] Found;

        public readonly void Run(int start, int end, int worker) =>
            Found.AsSpan(start, end - start).Fill(Workers.Available);
    }

    /// <summary>Keeps the pool until it is told that others are done.</summary>
    private struct HoldJob : IRangeJob
    {
        public ManualResetEventSlim Taken, Done;

        public readonly void Run(int start, int end, int worker)
        {
            Taken.Set();
            Done.Wait();
        }
    }

    private struct NestedJob : IRangeJob
    {
        public int[] Sums;

        public readonly void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                var inner = new int[100];
                Workers.For(100, 1, new MarkJob { Owner = inner });
                Sums[i] = inner.Count(owner => owner is >= 1 and <= 3);
            }
        }
    }

    private struct ThrowJob : IRangeJob
    {
        public int Bad;

        public readonly void Run(int start, int end, int worker)
        {
            for (int i = start; i < end; i++)
            {
                if (i == Bad)
                {
                    throw new InvalidOperationException($"item {i}");
                }
            }
        }
    }
}
