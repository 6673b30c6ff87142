using System.Diagnostics;
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
    }

    /// <summary>Neither less than a call takes at least, nor together more than all took.</summary>
    [Fact]
    public void Samples_are_nanoseconds_of_calls()
    {
        long start = Stopwatch.GetTimestamp();
        long[] samples = Few.Measure(() => Thread.Sleep(5))[0];
        double all = Stopwatch.GetElapsedTime(start).TotalNanoseconds;
        Assert.All(samples, ns => Assert.InRange(ns, 4_000_000, (long)all));
        Assert.InRange(samples.Sum(), 12_000_000, (long)all);
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

    /// <summary>At least so long, and for as many calls as that takes; what is returned is the fastest of them.</summary>
    [Fact]
    public void The_warm_up_goes_on_until_calls_have_settled()
    {
        int calls = 0;
        var seen = new List<long>();
        var work = new TimedWork(() =>
        {
            calls++;
            long began = Stopwatch.GetTimestamp();
            Thread.Sleep(1);
            seen.Add((long)Stopwatch.GetElapsedTime(began).TotalNanoseconds);
        });
        long start = Stopwatch.GetTimestamp();
        long[] least = (Few with { SettleTime = TimeSpan.FromMilliseconds(100) }).Settle([work]);
        Assert.True(Stopwatch.GetElapsedTime(start) >= TimeSpan.FromMilliseconds(100));
        Assert.True(calls >= Few.WarmUp, $"{calls} calls");
        Assert.InRange(Assert.Single(least), seen.Min(), long.MaxValue - 1);

        // Nothing settles in an hour.
        using var cancel = new CancellationTokenSource();
        int more = 0;
        var endless = new TimedWork(() =>
        {
            if (++more == 50) cancel.Cancel();
        });
        Assert.Throws<OperationCanceledException>(() => (Few with { SettleTime = TimeSpan.FromHours(1) }).Settle([endless], cancel.Token));
        Assert.Equal(50, more);
    }

    [Fact]
    public void Without_a_time_to_settle_the_warm_up_is_so_many_calls()
    {
        int calls = 0;
        (Few with { WarmUp = 5 }).Settle([new TimedWork(() => calls++)]);
        Assert.Equal(5, calls);
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
