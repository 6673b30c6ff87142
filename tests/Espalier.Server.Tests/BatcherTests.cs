namespace Espalier.Server.Tests;

public sealed class BatcherTests
{
    [Fact]
    public async Task WhatWaitsIsComputedTogetherByKeyAndAnsweredInOrder()
    {
        using var gate = new SemaphoreSlim(0);
        var batches = new List<int[]>();
        await using var batcher = Gated(gate, batches, most: 5, capacity: 10);
        Task<int> first = await batcher.Ask(0, waits: false, default);
        await Until(() => batcher.Waiting == 0);
        Task<int>[] others = await Task.WhenAll(new[] { 1, 2, 3, 4, 5, 6, 7 }.Select(i => batcher.Ask(i, waits: false, default)));
        gate.Release(100);
        Assert.Equal([1, 2, 3, 4, 5, 6, 7], (await Task.WhenAll(others)).Select(x => x - 100));
        Assert.Equal(100, await first);
        Assert.Equal([[0], [1, 3, 5], [2, 4], [6], [7]], batches);
    }

    [Fact]
    public async Task AFullQueueRefusesAndWhatIsCancelledIsNotComputed()
    {
        using var gate = new SemaphoreSlim(0);
        var batches = new List<int[]>();
        var released = new List<int>();
        using var cancel = new CancellationTokenSource();
        Task<int> first, second, third;
        await using (var batcher = Gated(gate, batches, most: 8, capacity: 2, released))
        {
            first = await batcher.Ask(0, waits: false, default);
            await Until(() => batcher.Waiting == 0);
            second = await batcher.Ask(2, waits: false, cancel.Token);
            third = await batcher.Ask(4, waits: false, default);
            Refusal refusal = await Assert.ThrowsAsync<Refusal>(() => batcher.Ask(6, waits: false, default));
            Assert.Equal(429, refusal.Status);
            await cancel.CancelAsync();
            await Assert.ThrowsAsync<TaskCanceledException>(() => second);
            gate.Release(100);
        }
        Assert.Equal((100, 104), (await first, await third));
        Assert.Equal([[0], [4]], batches);
        Assert.Equal([0, 2, 4, 6], released.Order());
    }

    [Fact]
    public async Task WhatWaitsForRoomIsComputedUnlessItIsCancelledAndTheQueueStaysAsLongAsItIs()
    {
        using var gate = new SemaphoreSlim(0);
        var batches = new List<int[]>();
        var released = new List<int>();
        using var cancel = new CancellationTokenSource();
        await using (var batcher = Gated(gate, batches, most: 1, capacity: 1, released))
        {
            Task<int> first = await batcher.Ask(0, waits: false, default);
            await Until(() => batcher.Waiting == 0);
            Task<int> second = await batcher.Ask(2, waits: true, default);
            Task<Task<int>> third = batcher.Ask(4, waits: true, default), never = batcher.Ask(6, waits: true, cancel.Token);
            Assert.Equal(1, batcher.Waiting);
            Assert.False(third.IsCompleted || never.IsCompleted);
            // Who does not wait has no place before those who do.
            await Assert.ThrowsAsync<Refusal>(() => batcher.Ask(8, waits: false, default));
            await cancel.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => never);
            gate.Release(100);
            int[] answers = await Task.WhenAll(first, second, await third);
            Assert.Equal([100, 102, 104], answers);
        }
        Assert.Equal([[0], [2], [4]], batches);
        Assert.Equal([0, 2, 4, 6, 8], released.Order());
    }

    [Fact]
    public async Task OneThatFailsDoesNotFailItsNeighbours()
    {
        using var gate = new SemaphoreSlim(0);
        await using var batcher = Gated(gate, [], most: 8, capacity: 8);
        Task<int> first = await batcher.Ask(0, waits: false, default);
        await Until(() => batcher.Waiting == 0);
        Task<int> good = await batcher.Ask(2, waits: false, default), bad = await batcher.Ask(-2, waits: false, default);
        gate.Release(100);
        Assert.Equal(102, await good);
        Assert.Equal("-2", (await Assert.ThrowsAsync<EspalierException>(() => bad)).Message);
        Assert.Equal(100, await first);
    }

    /// <summary>Adds 100 as soon as the gate lets it; even and odd numbers apart.</summary>
    private static Batcher<int, int> Gated(SemaphoreSlim gate, List<int[]> batches, int most, int capacity,
        List<int>? released = null) => new(most, capacity, inputs =>
        {
            // A test that fails must not wait for ever.
            gate.Wait(TimeSpan.FromSeconds(20));
            if (inputs.Any(i => i < 0)) throw new EspalierException($"{inputs.First(i => i < 0)}");
            batches.Add([.. inputs]);
            return [.. inputs.Select(i => i + 100)];
        }, i => i % 2, i =>
        {
            lock (batches) released?.Add(i);
        });

    private static async Task Until(Func<bool> condition)
    {
        for (int i = 0; i < 1000 && !condition(); i++) await Task.Delay(10);
        Assert.True(condition());
    }
}
