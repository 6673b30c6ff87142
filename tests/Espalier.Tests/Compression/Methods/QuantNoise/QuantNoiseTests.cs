using Espalier.Compression;
using Espalier.Compression.Methods.QuantNoise;
using Espalier.Quantization;

namespace Espalier.Tests.Compression.Methods;

public class QuantNoiseTests
{
    [Theory]
    [InlineData(NoiseKind.Integers, true)]
    [InlineData(NoiseKind.Integers, false)]
    [InlineData(NoiseKind.Proxy, false)]
    [InlineData(NoiseKind.Centroids, false)]
    public void GoesOnWhereItStopped(NoiseKind kind, bool values)
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model("resnet20", 16), new QuantNoise
        {
            Kind = kind, RoundValues = values, NoisedShare = 0.3, TrainSteps = 4, FineTuneSteps = 1, Every = 3, Entries = 16,
                Images = 16,
        });
        Assert.Equal(whole.Keys, resumed.Keys);
        Assert.All(whole, w => Assert.Equal(w.Value, resumed[w.Key]));
    }

    /// <summary>Of integers the network has codes in its file; of blocks it stays as large as it was.</summary>
    [Theory]
    [InlineData(NoiseKind.Integers, 4, 0.35)]
    [InlineData(NoiseKind.Integers, 8, 0.5)]
    [InlineData(NoiseKind.Proxy, 8, 1.01)]
    public void EndsAsItsKindSays(NoiseKind kind, int bits, double most)
    {
        using Model model = CompressionJobs.Model("cifar-vgg11", 16);
        long before = BeforeAfter.Bytes(model);
        CompressionJob job = CompressionJobs.Job(model, new QuantNoise
        {
            Kind = kind, Bits = bits, TrainSteps = 2, Images = 16, NoisedShare = 0.1,
        });
        job.Run();
        Assert.InRange(BeforeAfter.Bytes(model), 1, most * before);
        Assert.Equal(kind == NoiseKind.Integers, CompressionOrder.TraitsOf(model.Graph) == NetworkTraits.FewBits);
        Assert.Single(model.Card.History);
    }

    [Fact]
    public void BlocksAreNoisedLessThanIntegersWhereNothingIsSaid()
    {
        CompressionMethod method = CompressionMethods.Get("quant-noise");
        Assert.Equal([0.5, 0.1, 0.1], new[] { "integers", "proxy", "centroids" }.Select(k =>
            ((QuantNoise)method.Set("kind", k)).DrawnShare));
        Assert.Equal(0.3, ((QuantNoise)method.Set("share", "0.3").Set("kind", "proxy")).DrawnShare);
    }

    [Fact]
    public void RefusesWhatCannotBe()
    {
        Refused("TrainSteps is 0", new QuantNoise());
        Refused("learns nothing", new QuantNoise { TrainSteps = 1, Kind = NoiseKind.Proxy, NoisedShare = 1 });
        Refused("divided into blocks", new QuantNoise { TrainSteps = 1, Kind = NoiseKind.Proxy,
            Selection = new() { Keep = ["*"] } });

        static void Refused(string message, QuantNoise method)
        {
            using Model model = CompressionJobs.Model("cifar-vgg11", 16);
            CompressionJob job = CompressionJobs.Job(model, method);
            Assert.Contains(message, Assert.Throws<EspalierException>(job.Run).Message);
            Assert.Empty(job.Stages);
        }
    }
}
