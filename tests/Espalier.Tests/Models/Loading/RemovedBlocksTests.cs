using Espalier.Compression;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tests.Compression;

namespace Espalier.Tests.Models.Loading;

public sealed class RemovedBlocksTests : IDisposable
{
    private readonly string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");

    public void Dispose() => File.Delete(path);

    [Theory]
    [InlineData("resnet20", 16, "layer3.2", "layer1.0")]
    [InlineData("resnet50", 32, "layer2.1", "layer4.2")]
    [InlineData("mobilenet_v2", 32, "features.3", "features.15")]
    [InlineData("xception", 71, "block5")]
    [InlineData("preresnet164", 16, "layer1.1", "layer3.17")]
    public void AFileWithoutThemNeedsNothingElse(string network, int size, params string[] blocks)
    {
        using Cnn net = CompressionJobs.Net(network, size, 0.125);
        long before = net.ParameterCount;
        net.RemoveBlocks(blocks);
        Assert.True(net.ParameterCount < before);
        Assert.Equal(blocks.Order(StringComparer.Ordinal), net.Config.Removed!.Order(StringComparer.Ordinal));
        FormatOne.Save(path, net, new CnnStructure { Config = net.Config });
        using Model loaded = Model.Open(path);
        Assert.Equal(net.StateDict().Select(s => s.Name).Order(), loaded.Graph.Weights.Keys.Order());
        using var scope = new Scope();
        net.Training = false;
        Tensor images = Tensor.Full(new Shape(2, 1, size, size), 0.3f);
        Assert.InRange(Removal.Difference(net.Forward(images).ToArray(), loaded.Graph.Run(images).ToArray()), 0, 1e-6f);
    }

    [Theory]
    [InlineData("[\"layer1.7\"]", "no residual block")]
    [InlineData("[\"layer1\"]", "no residual block")]
    [InlineData("[\"layer1.1.conv1\"]", "no residual block")]
    [InlineData("[\"a\\u000ab\"]", "no residual block")]
    [InlineData("[null]", "no residual block")]
    [InlineData("[\"layer2.0\"]", "not an identity")]
    [InlineData("[\"layer1.1\",\"layer1.1\"]", "twice")]
    [InlineData("[\"layer1.0\",\"layer1.1\",\"layer1.2\",\"layer2.0\",\"layer2.1\",\"layer2.2\",\"layer3.0\",\"layer3.1\",\"layer3.2\"]",
        "not an identity")]
    [InlineData("[3]", "damaged")]
    [InlineData("\"layer1.1\"", "damaged")]
    [InlineData("[\"layer1.2\"]", "lacks")]                         // not the one whose tensors are missing
    [InlineData("null", "lacks")]
    [InlineData("[\"layer1.1\"]", "")]
    public void OnlyTheRightListLoads(string list, string message)
    {
        using Cnn net = CompressionJobs.Net("resnet20");
        net.RemoveBlocks(["layer1.1"]);
        string json = "{\"format\":1,\"architecture\":\"cnn\",\"config\":{\"network\":\"resnet20\",\"numClasses\":10,\"channels\":1,"
            + $"\"imageSize\":16,\"width\":0.25,\"removed\":{list}}}}}";
        Safetensors.Write(path, net.StateDict().Select(s => new NamedArray(s.Name, s.Value.Shape.ToArray(), s.Value.ToArray())),
            new Dictionary<string, string> { ["espalier"] = json });
        if (list == "[\"layer1.1\"]")
        {
            Model.Open(path).Dispose();
            return;
        }
        string error = Assert.Throws<EspalierException>(() => Model.Open(path)).Message;
        Assert.StartsWith(path, error);
        Assert.Contains(message, error);
        Assert.DoesNotContain('\n', error);
    }

    [Fact]
    public void ANetworkIsAsItWasWhereABlockCannotGo()
    {
        using Cnn net = CompressionJobs.Net("resnet20");
        long before = net.ParameterCount;
        Assert.Throws<EspalierException>(() => net.RemoveBlocks(["layer1.1", "layer2.0"]));
        Assert.Equal(before, net.ParameterCount);
        Assert.Null(net.Config.Removed);
        net.RemoveBlocks(["layer1.1"]);
        Assert.Contains("twice", Assert.Throws<EspalierException>(() => net.RemoveBlocks(["layer1.1"])).Message);
    }
}
