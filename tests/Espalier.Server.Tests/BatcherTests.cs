namespace Espalier.Server.Tests;

public sealed class BatcherTests
{
    [Fact]
    public async Task WhatWaitsIsComputedTogetherByKeyAndAnsweredInOrder()
    {
        using var gate = new SemaphoreSlim(0);
        var batches = new List<int[]>();
        await using var batcher = Gated(gate, batches, most: 5, capacity: 10);
        Task<int> first = batcher.Ask(0, default);
        await Until(() => batcher.Waiting == 0);
        Task<int>[] others = [.. new[] { 1, 2, 3, 4, 5, 6, 7 }.Select(i => batcher.Ask(i, default))];
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
            first = batcher.Ask(0, default);
            await Until(() => batcher.Waiting == 0);
            (second, third) = (batcher.Ask(2, cancel.Token), batcher.Ask(4, default));
            Refusal refusal = await Assert.ThrowsAsync<Refusal>(() => batcher.Ask(6, default));
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
    public async Task OneThatFailsDoesNotFailItsNeighbours()
    {
        using var gate = new SemaphoreSlim(0);
        await using var batcher = Gated(gate, [], most: 8, capacity: 8);
        Task<int> first = batcher.Ask(0, default);
        await Until(() => batcher.Waiting == 0);
        Task<int> good = batcher.Ask(2, default), bad = batcher.Ask(-2, default);
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
