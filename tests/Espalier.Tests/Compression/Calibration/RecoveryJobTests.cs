using Espalier.Compression;
using Espalier.Data;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Calibration;

/// <summary>Recovery as a part of any method's job.</summary>
public sealed class RecoveryJobTests
{
    private static readonly RecoverOptions Few = new() { Images = 64 };

    [Theory]
    [InlineData("l1", "resnet20")]
    [InlineData("output-error", "resnet20")]
    [InlineData("variance", "mobilenet_v2")]
    [InlineData("bn-scale", "densenet40")]
    [InlineData("l1", "cifar-vgg11")]
    [InlineData("l1", CompressionJobs.TinyVit)]
    // Its linear layers read [N, H, W, C], whose channels are not where those of maps are.
    [InlineData("output-error", "convnext_tiny")]
    [InlineData("variance", "convnext_tiny")]
    public void Every_method_that_removes_channels_recovers_where_asked_to(string name, string network)
    {
        CompressionMethod method = CompressionMethods.Get(name);
        double plain = Error(method, network, out _), recovered = Error(method with { Recover = Few }, network, out CompressionJob job);
        Assert.True(recovered < plain, $"{plain} -> {recovered}");
        Assert.NotEmpty(Assert.Single(job.Recoveries));
        Assert.InRange(job.Removals[0].Difference, 0, 1e-3f);
        // One image set or another: the training images by default, others where given.
        Error(method with { Recover = Few, Calibration = Subset.First(Datasets.OpenSample().Test, 7) }, network, out CompressionJob other);
        Assert.NotEqual(job.Recoveries[0][0], other.Recoveries[0][0]);
    }

    /// <summary>This network, which is not trained, has channels that are the same for all images: they go before any that says
    /// something.</summary>
    [Fact]
    public void Channels_that_say_nothing_cost_nothing() =>
        Assert.InRange(Error(CompressionMethods.Get("output-error"), "cifar-vgg11", out _), 0, 0.1);

    [Fact]
    public void In_rounds_each_removal_is_recovered_from()
    {
        Error(CompressionMethods.Get("l1") with { Recover = Few, Rounds = 2 }, "cifar-vgg11", out CompressionJob job);
        Assert.Equal(2, job.Recoveries.Count);
    }

    [Fact]
    public void Options_out_of_their_range_are_refused_before_anything_is_done()
    {
        using Model model = CompressionJobs.Model("cifar-vgg11");
        CompressionMethod method = CompressionMethods.Get("l1") with { Recover = new RecoverOptions { Images = 0 } };
        Assert.Throws<EspalierException>(() => CompressionJobs.Job(model, method).Run());
    }

    /// <summary>Of the output on some test images, as a share of its variance.</summary>
    private static double Error(CompressionMethod method, string network, out CompressionJob job)
    {
        using Model model = CompressionJobs.Model(network, network switch
        {
            CompressionJobs.TinyVit => 8,
            "convnext_tiny" => 32,
            _ => 16,
        }, width: network == "convnext_tiny" ? 0.25 : 0.5);
        job = CompressionJobs.Job(model, method with { TargetFlops = 0.7 });
        using var scope = new Scope();
        Tensor images = job.Example(48);
        float[] before = model.Graph.Run(images).ToArray();
        job.Run();
        float[] after = model.Graph.Run(images).ToArray();
        double error = 0, variance = 0;
        for (int c = 0; c < 10; c++)
        {
            double mean = Enumerable.Range(0, 48).Average(i => before[i * 10 + c]);
            for (int i = 0; i < 48; i++)
            {
                variance += Math.Pow(before[i * 10 + c] - mean, 2);
                error += Math.Pow(before[i * 10 + c] - after[i * 10 + c], 2);
            }
        }
        return error / variance;
    }
}
