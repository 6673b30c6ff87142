using System.Text;
using Espalier.Compression;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tests.Compression;

namespace Espalier.Tests.Models.Loading;

public sealed class FormatOneCnnTests : IDisposable
{
    private readonly string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");

    public void Dispose() => File.Delete(path);

    [Theory]
    [InlineData("cifar-vgg11", 16)]
    [InlineData("resnet20", 16)]
    [InlineData("densenet121", 32)]
    [InlineData("densenet40", 16)]
    [InlineData("preresnet20", 16)]
    [InlineData("mobilenet_v2", 32)]
    [InlineData("shufflenet_v2_x1_0", 32)]
    public void ANetworkWithChannelsRemovedNeedsNothingElse(string network, int size)
    {
        using Cnn net = CompressionJobs.Net(network, size);
        CompressionJob job = CompressionJobs.Job(net, CompressionMethods.Get("l1") with { Ratio = 0.3 });
        job.Run();
        net.Training = false;
        FormatOne.Save(path, net, new CnnStructure { Config = net.Config, Dataset = "fashion-mnist" });
        using Model loaded = Model.Open(path);
        using var scope = new Scope();
        Tensor images = job.Example(3);
        Assert.Equal(net.Forward(images).ToArray(), loaded.Graph.Run(images).ToArray());
        Assert.Equal(net.ParameterCount, loaded.ParameterCount);
        Assert.Equal("fashion-mnist", loaded.Card.Dataset);
    }

    [Fact]
    public void PublishedWeightsNeedTheNetworksName()
    {
        using Cnn net = CompressionJobs.Net("resnet20", width: 1);
        Safetensors.Write(path, net.StateDict().Select(s => new NamedArray(s.Name, s.Value.Shape.ToArray(), s.Value.ToArray())), new Dictionary<string, string>());
        Assert.Contains("Architecture", Assert.Throws<EspalierException>(() => Model.Open(path)).Message);
        using Model loaded = Model.Open(path, new OpenOptions { Architecture = net.Config.Network, ImageSize = net.ImageSize });
        Assert.Equal(net.Parameters().First().ToArray(), loaded.Graph.Parameters.First().Value.ToArray());
        Assert.Contains("vgg", Assert.Throws<EspalierException>(
            () => Model.Open(path, new OpenOptions { Architecture = "cifar-vgg11" })).Message);
    }

    /// <summary>Network Slimming's code keeps a one or zero for each channel where the list here has numbers.</summary>
    [Fact]
    public void PublishedListsOfChannelsAreReadAsSuch()
    {
        using Cnn net = CompressionJobs.Net("densenet40");
        CompressionJob job = CompressionJobs.Job(net, CompressionMethods.Get("bn-scale") with { Ratio = 0.4 });
        var widths = net.StateDict().Where(s => s.Value.Rank == 1).ToDictionary(s => s.Name, s => s.Value.Shape[0]);
        job.Run();
        NamedArray Published(string name, Tensor value)
        {
            if (!name.EndsWith(".index", StringComparison.Ordinal))
                return new NamedArray(name, value.Shape.ToArray(), value.ToArray());
            var picked = new float[widths[name]];
            foreach (float c in value.ToArray()) picked[(int)c] = 1;
            return new NamedArray(name + "es", [picked.Length], picked);
        }
        Safetensors.Write(path, net.StateDict().Select(s => Published(s.Name, s.Value)), new Dictionary<string, string>());
        using Model loaded = Model.Open(path, new OpenOptions { Architecture = net.Config.Network, ImageSize = net.ImageSize });
        net.Training = false;
        using var scope = new Scope();
        Tensor images = job.Example(3);
        Assert.Equal(net.Forward(images).ToArray(), loaded.Graph.Run(images).ToArray());

        Safetensors.Write(path, net.StateDict().Select(s => s.Name == "dense2.1.select.index"
            ? new NamedArray(s.Name + "es", [4], new float[4]) : Published(s.Name, s.Value)), new Dictionary<string, string>());
        Assert.Contains("dense2.1.select.indexes",
            Assert.Throws<EspalierException>(() => Model.Open(path, new OpenOptions { Architecture = net.Config.Network, ImageSize = net.ImageSize })).Message);
    }

    [Fact]
    public void DamagedFilesAreOneLine()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        var structure = new CnnStructure { Config = net.Config };
        FormatOne.Save(path, net, structure);
        byte[] whole = File.ReadAllBytes(path);

        net.Parameters().First().Span[3] = float.NaN;
        FormatOne.Save(path, net, structure);
        Assert.Contains("NaN", OneLine());

        File.WriteAllBytes(path, whole[..(whole.Length / 2)]);
        OneLine();

        foreach (var (from, to) in new[] { ("\\u0022width\\u0022:0.25", "\\u0022width\\u0022:9e99"), ("cifar-vgg11", "cifar-vgg99"),
            ("\\u0022cnn\\u0022", "\\u0022vit\\u0022"), ("\\\"cnn\\\"", "\\\"vit\\\"") })
        {
            string text = Encoding.Latin1.GetString(whole);
            if (!text.Contains(from, StringComparison.Ordinal)) continue;
            File.WriteAllBytes(path, Encoding.Latin1.GetBytes(text.Replace(from, to, StringComparison.Ordinal)));
            OneLine();
        }

        // A few bytes that claim terabytes: refused before anything is taken.
        using (Cnn wide = CnnPresets.Create(new CnnConfig("vanilla-c3") { ImageSize = 8, NumClasses = 2, Width = 0.1 }))
            Safetensors.Write(path, wide.StateDict().Select(s => new NamedArray(s.Name, s.Value.Shape.ToArray(), s.Value.ToArray())),
                new Dictionary<string, string>
                {
                    ["espalier"] = """
                        {"format":1,"architecture":"cnn","config":{"network":"vanilla-c3","numClasses":1048576,"channels":3,
                        "imageSize":2048,"width":4}}
                        """,
                });
        AssertSays("fit together");

        // A row less in one weight only: the layers no longer fit together.
        Tensor weight = net.Parameters().First();
        weight.Span[3] = 0;
        using (Tensor cut = Tensor.Unscoped(new Shape(weight.Shape[0] - 1, 1, 3, 3)))
        {
            cut.Fill(0);
            weight.Exchange(cut);
        }
        FormatOne.Save(path, net, structure);
        AssertSays("fit together");
    }

    [Theory]
    [InlineData("null", 3, 16, """["a","b"]""", "network")]
    [InlineData("\"resnet20\"", 3, 16, """[null,"b"]""", "without a name")]
    [InlineData("\"resnet20\"", 1024, 2048, """["a","b"]""", "values")]
    public void AStructureBlockThatMakesNoSenseIsOneLine(string network, int channels, int size, string names, string says)
    {
        string config = $$"""{"network":{{network}},"numClasses":2,"channels":{{channels}},"imageSize":{{size}},"width":1}""";
        Safetensors.Write(path, [new NamedArray("linear.bias", [2], new float[2])], new Dictionary<string, string>
        {
            ["espalier"] = $$"""{"format":1,"architecture":"cnn","config":{{config}},"classNames":{{names}}}""",
        });
        AssertSays(says);
    }

    private void AssertSays(string text) => Assert.True(OneLine() is var message && message.Contains(text, StringComparison.Ordinal), message);

    private string OneLine()
    {
        string message = Assert.Throws<EspalierException>(() => Model.Open(path)).Message;
        Assert.DoesNotContain('\n', message);
        return message;
    }
}
