using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats;
using Espalier.Tests.Formats.Onnx;

namespace Espalier.Tests.Models.Loading;

/// <summary>Which preprocessing a checkpoint has that says one, that says none, and that is not from here.</summary>
public sealed class PreprocessingDefaultsTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("vgg16", "imagenet")]
    [InlineData("vgg11_bn", "imagenet")]
    [InlineData("resnet18", "imagenet")]
    [InlineData("resnet50", "imagenet")]
    [InlineData("densenet121", "imagenet")]
    [InlineData("mobilenet_v2", "imagenet")]
    [InlineData("shufflenet_v2_x1_0", "imagenet")]
    [InlineData("efficientnet_b0", "deit")]
    [InlineData("resnet101", "imagenet")]
    [InlineData("mobilenet_v3_large", "imagenet")]
    [InlineData("regnet_y_800mf", "imagenet")]
    [InlineData("resnet20", "half")]
    [InlineData("cifar-vgg16", "half")]
    [InlineData("densenet40", "half")]
    [InlineData("vanilla-c3", "half")]
    public void ConvolutionalNetworksHaveThatOfTheirPublishedWeights(string network, string preset)
    {
        CnnConfig config = CnnPresets.Get(network);
        Assert.Equal(Preprocessing.Preset(preset, config.ImageSize), PreprocessingDefaults.For(config));
    }

    /// <summary>Where torchvision evaluates at another ratio of the scaled picture to the input.</summary>
    [Theory]
    [InlineData("efficientnet_b1", 256, 240, Interpolation.Bicubic)]
    [InlineData("efficientnet_b2", 288, 288, Interpolation.Bicubic)]
    [InlineData("efficientnet_b3", 320, 300, Interpolation.Bicubic)]
    [InlineData("efficientnet_b4", 384, 380, Interpolation.Bicubic)]
    [InlineData("convnext_tiny", 236, 224, Interpolation.Bilinear)]
    public void SomeHaveTorchvisionsOwnSizes(string network, int resize, int crop, Interpolation filter)
    {
        Preprocessing p = PreprocessingDefaults.For(CnnPresets.Get(network))!;
        Assert.Equal((resize, crop, filter), (p.Resize, p.Crop, p.Filter));
        Assert.Equal(Preprocessing.Preset("imagenet", 224).Mean, p.Mean);
        Assert.Equal(96, PreprocessingDefaults.For(CnnPresets.Get(network) with { ImageSize = 96 })!.Size);
    }

    [Fact]
    public void XceptionHasTimms()
    {
        Preprocessing p = PreprocessingDefaults.For(CnnPresets.Get("xception"))!;
        Assert.Equal((333, 299, Interpolation.Bicubic), (p.Resize, p.Crop, p.Filter));
        Assert.Equal([0.5f], p.Mean);
    }

    [Theory]
    [InlineData("DeiT-S_16", "deit")]
    [InlineData("deit-b_16-distilled", "deit")]
    [InlineData("ViT-B_16", "half")]
    [InlineData("R50-ViT-B_16", "half")]
    [InlineData("vit-small-28", "half")]
    public void TransformersHaveThatOfTheirName(string name, string preset)
    {
        VitConfig config = VitPresets.Get(name);
        Assert.Equal(Preprocessing.Preset(preset, config.ImageSize, config.Channels), PreprocessingDefaults.For(config));
        Assert.DoesNotContain("reset", config.ToJson());
    }

    [Fact]
    public void SmallImagesAndOddChannelsHaveNoPublishedWay()
    {
        Assert.Equal(Preprocessing.Half(32, 1), PreprocessingDefaults.For(CnnPresets.Get("resnet18") with { ImageSize = 32, Channels = 1 }));
        Assert.Equal(Preprocessing.Half(32, 3), PreprocessingDefaults.For(VitPresets.Get("DeiT-S_16") with { ImageSize = 32 }));
        Assert.Null(PreprocessingDefaults.For(VitPresets.Get("ViT-B_16") with { Channels = 4 }));
    }

    /// <summary>As torch.save writes a state dict: a zip archive with a pickle and a storage for each tensor.</summary>
    [Fact]
    public void ATorchvisionStateDictHasImageNetsWithoutBeingTold()
    {
        CnnConfig published = CnnPresets.Get("mobilenet_v2");
        using Cnn net = CnnPresets.Create(published with { Width = 0.1 });
        WriteStateDict(folder["mobilenet.pth"], net.StateDict());
        using Model loaded = Model.Open(folder["mobilenet.pth"], new OpenOptions { Architecture = "mobilenet_v2" });
        Assert.Equal(Preprocessing.Preset("imagenet", 224), loaded.Card.Preprocessing);
        Assert.Equal("usual for mobilenet_v2", loaded.Card.Preprocessing!.Origin);
        using Session session = Session.Open(folder["mobilenet.pth"], new OpenOptions { Architecture = "mobilenet_v2" });
        Assert.Equal(Preprocessing.Preset("imagenet", 224), session.Preprocessing);
    }

    [Fact]
    public void CheckpointsKeepIt()
    {
        Preprocessing clip = Preprocessing.Preset("clip", 28, 1) with { Resize = 30 };
        VitConfig config = VitPresets.Get("vit-tiny-28");
        using var vit = new VisionTransformer(config);
        FormatOne.Save(folder["vit"], vit, new ModelStructure { Config = config, Preprocessing = clip });
        using (Model loaded = Model.Open(folder["vit"])) Assert.Equal(clip, loaded.Card.Preprocessing);
        using (Session session = Session.Open(folder["vit"])) Assert.Equal(clip, session.Preprocessing);
        // Positions are interpolated where another size is asked for, and as much of the picture is cut off.
        using (Model larger = Model.Open(folder["vit"], new OpenOptions { ImageSize = 56 }))
            Assert.Equal((60, 56), (larger.Card.Preprocessing!.Resize, larger.Card.Preprocessing.Crop));

        CnnConfig small = CnnPresets.Get("resnet20") with { ImageSize = 28, Channels = 1 };
        using Cnn net = CnnPresets.Create(small);
        FormatOne.Save(folder["cnn"], net, new CnnStructure { Config = small, Preprocessing = clip });
        using (Model loaded = Model.Open(folder["cnn"])) Assert.Equal(clip, loaded.Card.Preprocessing);
    }

    [Fact]
    public void FilesThatDoNotSayWereTrainedWithHalf()
    {
        CnnConfig config = CnnPresets.Get("shufflenet_v2_x1_0") with { Width = 0.1, Channels = 1, ImageSize = 64 };
        using Cnn net = CnnPresets.Create(config);
        FormatOne.Save(folder["cnn"], net, new CnnStructure { Config = config });
        using Model loaded = Model.Open(folder["cnn"]);
        Assert.Equal(Preprocessing.Half(64, 1), loaded.Card.Preprocessing);
        Assert.Equal("usual for checkpoints that do not say", loaded.Card.Preprocessing!.Origin);
    }

    [Theory]
    [InlineData("resize", "0", "resize is 0")]
    [InlineData("crop", "27", "gives 1 x 27 x 27, but the network takes 1 x 28 x 28")]
    [InlineData("colors", "\"rgb\"", "gives 3 x 28 x 28")]
    [InlineData("filter", "\"nearest\"", "one of bilinear, bicubic is wanted")]
    [InlineData("unknown", "1", "unknown")]
    public void ABlockWithABadOneIsRefused(string name, string value, string expected)
    {
        VitConfig config = VitPresets.Get("vit-tiny-28");
        using var vit = new VisionTransformer(config);
        JsonNode block = JsonNode.Parse(new ModelStructure { Config = config, Preprocessing = Preprocessing.Preset("clip", 28, 1) }.ToJson())!;
        block["preprocessing"]![name] = JsonNode.Parse(value);
        Safetensors.Write(folder["bad"], vit.StateDict().Select(p => new NamedArray(p.Name, p.Value.Shape.ToArray(), p.Value.ToArray())),
            new Dictionary<string, string> { ["espalier"] = block.ToJsonString() });
        string message = Assert.Throws<EspalierException>(() => Model.Open(folder["bad"])).Message;
        Assert.Contains(expected, message);
        Assert.Contains("bad", message);
        CnnConfig small = CnnPresets.Get("resnet20") with { ImageSize = 28, Channels = 1 };
        using Cnn net = CnnPresets.Create(small);
        block["architecture"] = "cnn";
        block["config"] = new JsonObject
        {
            ["network"] = "resnet20", ["numClasses"] = 10, ["channels"] = 1, ["imageSize"] = 28, ["width"] = 1,
        };
        Safetensors.Write(folder["bad"], net.StateDict().Select(p => new NamedArray(p.Name, p.Value.Shape.ToArray(), p.Value.ToArray())),
            new Dictionary<string, string> { ["espalier"] = block.ToJsonString() });
        Assert.Contains(expected, Assert.Throws<EspalierException>(() => Model.Open(folder["bad"])).Message);
    }

    [Fact]
    public void OnnxFilesSayIt()
    {
        CnnConfig config = CnnPresets.Get("resnet20");
        using Model loaded = Model.FromModule(CnnPresets.Create(config), new ModelCard
        {
            Preprocessing = Preprocessing.Half(32, 3) with { Colors = ColorOrder.Bgr, Divisor = 1, Mean = [51, 102, 127.5f], Std = [51] },
        });
        loaded.ExportOnnx(folder["net.onnx"]);
        var read = new OnnxReader(folder["net.onnx"]);
        Assert.Equal(("32", "[0.2,0.4,0.5]", "[0.2,0.2,0.2]"),
            (read.Metadata["input_size"], read.Metadata["mean"], read.Metadata["std"]));
        Assert.Equal(loaded.Card.Preprocessing, Preprocessing.Parse(
            JsonNode.Parse(read.Metadata["espalier"])!["card"]!["preprocessing"]!.ToJsonString(), "file"));
    }

    private static void WriteStateDict(string path, IEnumerable<(string Name, Tensor Value)> tensors)
    {
        using var zip = new ZipArchive(File.Create(path), ZipArchiveMode.Create);
        var pickle = new List<byte>([0x80, 2, .. "ccollections\nOrderedDict\n)R("u8]);
        int key = 0;
        foreach (var (name, value) in tensors)
        {
            int[] shape = value.Shape.ToArray(), strides = new int[shape.Length];
            for (int i = shape.Length - 1, step = 1; i >= 0; step *= shape[i--]) strides[i] = step;
            pickle.AddRange([.. Text(name), .. "ctorch._utils\n_rebuild_tensor_v2\n(("u8, .. Text("storage"), .. "ctorch\nFloatStorage\n"u8]);
            pickle.AddRange([.. Text($"{key}"), .. Text("cpu"), .. Int((int)value.Length), .. "tQ"u8, .. Int(0), (byte)'(']);
            pickle.AddRange([.. shape.SelectMany(Int), .. "t("u8, .. strides.SelectMany(Int), (byte)'t', 0x89, .. "}tR"u8]);
            using Stream data = zip.CreateEntry($"net/data/{key++}", CompressionLevel.NoCompression).Open();
            data.Write(MemoryMarshal.AsBytes((ReadOnlySpan<float>)value.Span));
        }
        pickle.AddRange("u."u8);
        using Stream content = zip.CreateEntry("net/data.pkl", CompressionLevel.NoCompression).Open();
        content.Write(pickle.ToArray());

        static byte[] Int(int value) => [(byte)'J', .. BitConverter.GetBytes(value)];

        static byte[] Text(string text) => [(byte)'X', .. BitConverter.GetBytes(text.Length), .. Encoding.ASCII.GetBytes(text)];
    }
}
