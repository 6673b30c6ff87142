using Espalier.Benchmarking;

namespace Espalier.Tests.Benchmarking;

public sealed class RoundsTests
{
    private static readonly Rounds Few = new() { WarmUp = 2, SettleTime = TimeSpan.Zero, Repeats = 3 };

    [Fact]
    public void Every_round_has_a_call_of_each_and_alternates_the_direction()
    {
        var calls = new List<string>();
        IReadOnlyList<long[]> samples = Few.Measure(() => calls.Add("a"), () => calls.Add("b"));
        Assert.Equal("ab ab ab ba ab".Replace(" ", ""), string.Concat(calls));
        Assert.All(samples, s => Assert.Equal(3, s.Length));
        Assert.All(samples.SelectMany(s => s), ns => Assert.InRange(ns, 0, long.MaxValue));
    }

    [Fact]
    public void The_stage_is_set_before_every_burst()
    {
        int stage = 0, wrong = 0;
        TimedWork Work(int id) => new(() => wrong += stage == id ? 0 : 1, () => stage = id);
        Few.Measure([Work(1), Work(2), Work(3)]);
        Assert.Equal(0, wrong);
    }

    [Fact]
    public void Quick_calls_are_repeated_until_the_time_is_filled()
    {
        Rounds rounds = Few with { MinTime = TimeSpan.FromMilliseconds(30) };
        long[] samples = rounds.Measure(() => Thread.SpinWait(10))[0];
        Assert.True(samples.Length > 3, $"{samples.Length} samples");
        Assert.Equal(0, samples.Length % 3);
    }

    [Fact]
    public void The_warm_up_goes_on_while_calls_get_faster()
    {
        int calls = 0;
        var work = new TimedWork(() => Thread.Sleep(++calls <= 3 ? 40 : 1));
        long[] least = (Few with { SettleTime = TimeSpan.FromMilliseconds(100) }).Settle([work]);
        Assert.True(calls > 4, $"{calls} calls");
        Assert.InRange(Assert.Single(least), 1, 40_000_000);
    }

    [Fact]
    public void Progress_ends_at_one()
    {
        var shares = new List<double>();
        Few.Measure([new TimedWork(() => { }), new TimedWork(() => { })], shares.Add);
        Assert.Equal(shares.Order(), shares);
        Assert.Equal(6, shares.Count);
        Assert.Equal(1, shares[^1], 12);
    }

    [Fact]
    public void It_can_be_cancelled()
    {
        using var cancel = new CancellationTokenSource();
        int calls = 0;
        var work = new TimedWork(() =>
        {
            if (++calls == 4) cancel.Cancel();
        });
        Assert.Throws<OperationCanceledException>(() => Few.Measure([work], cancel: cancel.Token));
        Assert.Equal(4, calls);
    }

    [Fact]
    public void There_must_be_a_warm_up_and_a_round()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => (Few with { WarmUp = 0 }).Measure(() => { }));
        Assert.Throws<ArgumentOutOfRangeException>(() => (Few with { Repeats = 0 }).Measure(() => { }));
    }
}
