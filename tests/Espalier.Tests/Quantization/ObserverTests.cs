using Espalier.Quantization;
using Espalier.Tensors;
using Espalier.Tests.Compression;

namespace Espalier.Tests.Quantization;

/// <summary>Ranges that observers find.</summary>
public class ObserverTests
{
    public static TheoryData<ObserverKind> Kinds => [.. Enum.GetValues<ObserverKind>()];

    /// <summary>See tests/goldens/make_quantised_training.py.</summary>
    [Theory]
    [InlineData(8, "histogram8")]
    [InlineData(4, "histogram4")]
    public void AHistogramIsNarrowedAsPyTorchDoes(int bits, string key)
    {
        Observer observer = Observer.Create(ObserverKind.Histogram);
        observer.Add([.. Enumerable.Range(0, 20000).Select(i => (float)(-Math.Log(1 - 0.9999 * Part(i * 0.61803398875))
            * (Part(i * 0.7548776662) < 0.5 ? -0.3 : 1)))]);
        double[] expected = new TinyGolden("Quantised", "training.json")[key];
        var (min, max) = observer.Range(CodeFormat.Activation(bits));
        Assert.Equal(expected[0], min, 0.02);
        Assert.Equal(expected[1], max, 0.02);

        static double Part(double x) => x - Math.Floor(x);
    }

    [Fact]
    public void MinMaxIsTheWholeRange()
    {
        Observer observer = Observer.Create(ObserverKind.MinMax);
        observer.Add([1, 2, -3]);
        observer.Add([0.5f, 7]);
        Assert.Equal((-3, 7), observer.Range(CodeFormat.Activation(8)));
    }

    [Fact]
    public void AMovingAverageForgetsTheFirstBatch()
    {
        Observer observer = Observer.Create(ObserverKind.MovingAverage, momentum: 0.25f);
        observer.Add([-4, 8]);
        observer.Add([0, 4]);
        Assert.Equal((-3, 7), observer.Range(CodeFormat.Activation(8)));
    }

    /// <summary>That is no sign to keep the least and largest of all.</summary>
    [Fact]
    public void AMovingAverageOfOneIsTheLastBatch()
    {
        Observer observer = Observer.Create(ObserverKind.MovingAverage, momentum: 1);
        observer.Add([-4, 8]);
        observer.Add([-1, 2]);
        Assert.Equal((-1, 2), observer.Range(CodeFormat.Activation(8)));
    }

    /// <summary>What dead neurons give at first: bins for zeros alone are too narrow to be counted up to another value.</summary>
    [Theory]
    [InlineData(ObserverKind.Percentile, 1f)]
    [InlineData(ObserverKind.Mse, 1f)]
    [InlineData(ObserverKind.Entropy, 1f)]
    [InlineData(ObserverKind.Histogram, 1f)]
    [InlineData(ObserverKind.Histogram, 1e38f)]
    public void ZerosAloneMayComeFirst(ObserverKind kind, float size)
    {
        Observer late = Observer.Create(kind), early = Observer.Create(kind);
        float[] zeros = new float[100], values = [.. Enumerable.Range(-50, 101).Select(i => size / 50 * i)];
        late.Add(zeros);
        late.Add(values);
        early.Add([.. zeros, .. values]);
        var (a, b) = (late.Range(CodeFormat.Activation(8)), early.Range(CodeFormat.Activation(8)));
        Assert.Equal(b.Max, a.Max, 0.01f * size);
        Assert.Equal(b.Min, a.Min, 0.01f * size);
        Assert.InRange(a.Max, 0.29f * size, 1.01f * size);
    }

    /// <summary>A normal distribution with one value far away: all but the whole range leave that out.</summary>
    [Theory]
    [InlineData(ObserverKind.Percentile, 2.5f, 12f)]
    [InlineData(ObserverKind.Mse, 2f, 12f)]
    [InlineData(ObserverKind.Entropy, 2f, 20f)]
    public void AnOutlierIsCutOff(ObserverKind kind, float least, float most)
    {
        Observer observer = Observer.Create(kind);
        var rng = new Rng(1);
        for (int batch = 0; batch < 8; batch++) observer.Add([.. Enumerable.Range(0, 50_000).Select(_ => rng.NextNormal())]);
        observer.Add([-40, 40]);
        var (min, max) = observer.Range(CodeFormat.Activation(4));
        Assert.InRange(max, least, most);
        Assert.InRange(-min, least, most);
    }

    /// <summary>Nothing is lost where bins grow: the least squared error found of the histogram is that of the values.</summary>
    [Fact]
    public void BinsGrowWithTheValues()
    {
        var rng = new Rng(2);
        Observer apart = Observer.Create(ObserverKind.Mse), together = Observer.Create(ObserverKind.Mse);
        var all = new List<float>();
        foreach (float width in new[] { 0.01f, 3, 0.5f, 100, 17 })
        {
            float[] batch = [.. Enumerable.Range(0, 3000).Select(_ => rng.NextFloat(-width, width / 2))];
            all.AddRange(batch);
            apart.Add(batch);
        }
        together.Add([.. all]);
        var (a, b) = (apart.Range(CodeFormat.Activation(8)), together.Range(CodeFormat.Activation(8)));
        Assert.Equal(b.Max, a.Max, 0.02f * b.Max);
        Assert.Equal(b.Min, a.Min, 0.02f * -b.Min);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void AConstantAndANumberThatIsNone(ObserverKind kind)
    {
        Observer observer = Observer.Create(kind);
        Assert.True(observer.IsEmpty);
        Assert.Contains("no calibration images", Assert.Throws<EspalierException>(() =>
            observer.Range(CodeFormat.Activation(8))).Message);
        observer.Add([2.5f, 2.5f]);
        var (min, max) = observer.Range(CodeFormat.Activation(8));
        Assert.InRange(max, 0.7f, 2.5f);
        Assert.True(min <= max);
        Assert.Contains("not finite", Assert.Throws<EspalierException>(() => observer.Add([1, float.NaN])).Message);
    }
}
