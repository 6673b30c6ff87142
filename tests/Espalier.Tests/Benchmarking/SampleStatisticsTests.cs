using Espalier.Benchmarking;

namespace Espalier.Tests.Benchmarking;

public sealed class SampleStatisticsTests
{
    // numpy: mean, std(ddof=1), percentile(50, 90, 99) of [1..10], shuffled.
    [Fact]
    public void Of_ten_samples()
    {
        SampleStatistics s = SampleStatistics.Of([7, 1, 10, 4, 2, 9, 3, 8, 5, 6]);
        Assert.Equal(10, s.Count);
        Assert.Equal(5.5, s.Mean, 12);
        Assert.Equal(3.0276503540974917, s.StandardDeviation, 12);
        Assert.Equal((1, 10), (s.Least, s.Most));
        Assert.Equal(5.5, s.P50, 12);
        Assert.Equal(9.1, s.P90, 12);
        Assert.Equal(9.91, s.P99, 12);
    }

    [Fact]
    public void Of_two_samples()
    {
        SampleStatistics s = SampleStatistics.Of([30, 10]);
        Assert.Equal(Math.Sqrt(200), s.StandardDeviation, 12);
        Assert.Equal((20.0, 28.0, 29.8), (s.P50, s.P90, Math.Round(s.P99, 12)));
    }

    [Fact]
    public void One_sample_does_not_deviate()
    {
        SampleStatistics s = SampleStatistics.Of([42]);
        Assert.Equal((42.0, 0.0, 42.0, 42.0, 42.0), (s.Mean, s.StandardDeviation, s.P50, s.P90, s.P99));
    }

    [Fact]
    public void There_must_be_a_sample() => Assert.Throws<ArgumentException>(() => SampleStatistics.Of([]));
}
