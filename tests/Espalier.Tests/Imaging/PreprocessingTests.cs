using System.Runtime.InteropServices;
using System.Text.Json;
using Espalier.Data;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Tensors;

namespace Espalier.Tests.Imaging;

/// <summary>Against PIL and numpy doing what torchvision does, see tests/goldens/make_preprocessing.py.</summary>
public class PreprocessingTests
{
    private const string Good = """{"resize":256,"fit":"shorterSide","filter":"bilinear","crop":224,"colors":"rgb","divisor":255,"mean":[0.5],"std":[0.25]}""";

    private static readonly JsonElement[] Goldens = JsonSerializer.Deserialize<JsonElement[]>(
        File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Goldens", "Preprocessing", "expected.json")))!;

    public static TheoryData<int> Cases => [.. Enumerable.Range(0, Goldens.Length)];

    [Theory, MemberData(nameof(Cases))]
    public void EveryPixelIsPilsAndNumpys(int index)
    {
        JsonElement golden = Goldens[index];
        Preprocessing p = Preprocessing.Parse(golden.GetProperty("preprocessing").GetRawText(), "golden");
        if (golden.GetProperty("preset").GetString() is { } name)
            Assert.Equal(p, Preprocessing.Preset(name, golden.GetProperty("size").GetInt32(), golden.GetProperty("channels").GetInt32()));
        float[] pixels = Run(ImagePipeline.Eval(p), Picture(golden.GetProperty("picture")));
        int[] at = golden.GetProperty("at").Deserialize<int[]>()!;
        Assert.Equal(golden.GetProperty("values").Deserialize<float[]>(), at.Select(i => pixels[i]));
        Assert.Equal(golden.GetProperty("crc").GetUInt32(), Crc32.Append(0, MemoryMarshal.AsBytes(pixels.AsSpan())));
    }

    [Theory]
    [InlineData("imagenet", 224, 256)]
    [InlineData("deit", 384, 438)]              // int((256 / 224) * 384), floor(384 / 0.875)
    [InlineData("imagenet", 96, 109)]
    [InlineData("clip", 336, 336)]
    public void OtherSizesKeepTheRatio(string name, int size, int resize)
    {
        Preprocessing p = Preprocessing.Preset(name, size);
        Assert.Equal((resize, size, size), (p.Resize, p.Crop, p.Size));
        Assert.Equal(p, Preprocessing.Preset(name, 224).ForSize(size));
    }

    [Fact]
    public void AFileSaysAllOfIt()
    {
        foreach (string name in Preprocessing.Names)
            foreach (int channels in new[] { 1, 3 })
            {
                Preprocessing p = Preprocessing.Preset(name, 224, channels) with { Origin = "a test" };
                Assert.Equal(p, Preprocessing.Parse(p.ToJson(), "file"));
                Assert.DoesNotContain("a test", p.ToJson());
            }
    }

    [Theory]
    [InlineData("\"crop\":224", "\"crop\":0", "crop is 0")]
    [InlineData("\"crop\":224,", "", "add crop")]
    [InlineData("\"resize\":256", "\"resize\":16385", "resize is 16385")]
    [InlineData("\"resize\":256", "\"resize\":2.5", "resize")]
    [InlineData("\"resize\":256,", "", "resize")]
    [InlineData("\"resize\":256", "\"resize\":256,\"resize\":256", "resize")]
    [InlineData("\"resize\":256", "\"resize\":256,\"scale\":2", "scale")]
    [InlineData("bilinear", "lanczos", "one of bilinear, bicubic is wanted")]
    [InlineData("\"bilinear\"", "1", "one of bilinear, bicubic is wanted")]
    [InlineData("shorterSide", "ShorterSide", "one of shorterSide, square is wanted")]
    [InlineData("rgb", "rgba", "one of rgb, bgr, grey is wanted")]
    [InlineData("rgb\",\"divisor\":255,\"mean\":[0.5]", "grey\",\"divisor\":255,\"mean\":[0.5,0.5,0.5]", "mean has 3 numbers; it has 1")]
    [InlineData("[0.5]", "[0.5,0.5]", "mean has 2 numbers; it has 3, or 1 for all")]
    [InlineData("[0.5]", "[]", "mean has 0 numbers")]
    [InlineData("[0.5]", "null", "lists of numbers")]
    [InlineData("[0.5]", "[1e39]", "mean has")]
    [InlineData("[0.25]", "[0]", "std has 0")]
    [InlineData("[0.25]", "[-0.25]", "std has -0.25")]
    [InlineData("[0.25]", "[\"NaN\"]", "std")]
    [InlineData("\"divisor\":255", "\"divisor\":0", "divisor is 0")]
    [InlineData("{", "[{", "preprocessing")]
    public void WhatIsWrongIsNamedInOneLine(string part, string instead, string expected)
    {
        Assert.Equal(224, Preprocessing.Parse(Good, "file.json").Size);
        Assert.Contains(part, Good);
        string message = Assert.Throws<EspalierException>(
            () => Preprocessing.Parse(Good.Replace(part, instead, StringComparison.Ordinal), "file.json")).Message;
        Assert.Contains(expected, message);
        Assert.StartsWith("file.json: ", message);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void ItMustMakeTheNetworksInput()
    {
        Preprocessing p = Preprocessing.Preset("imagenet", 224);
        Assert.Same(p, p.RequireFor(224, 3, "net"));
        Assert.Contains("gives 3 x 224 x 224, but the network takes 1 x 224 x 224",
            Assert.Throws<EspalierException>(() => p.RequireFor(224, 1, "net")).Message);
        Assert.Throws<EspalierException>(() => p.RequireFor(384, 3, "net"));
    }

    /// <summary>Scaled whole, these would have a thousand times as many pixels.</summary>
    [Theory]
    [InlineData(1, 60_000)]
    [InlineData(60_000, 1)]
    [InlineData(2, 1_000_000)]
    public void LongThinPicturesNeedNoMemory(int width, int height)
    {
        var image = new Image(width, height, 1);
        Array.Fill(image.Pixels, (byte)51);
        long before = GC.GetAllocatedBytesForCurrentThread();
        float[] pixels = Run(ImagePipeline.Eval(Preprocessing.Preset("clip", 224, 1) with { Mean = [0], Std = [1] }), image);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated < 4 << 20, $"{allocated} bytes");
        Assert.DoesNotContain(pixels, x => x != 0.2f);
    }

    [Fact]
    public void TrainingHasTheNumbersAndTheSize()
    {
        var info = new DatasetInfo("folder", "", 3, 300, 10);
        Preprocessing p = Preprocessing.Preset("imagenet", 56);
        Image image = Picture(JsonSerializer.SerializeToElement(new[] { 301, 227, 3 }));
        Assert.Equal(Run(ImagePipeline.Eval(p), image), Run(ImagePipeline.Train(info, p, Augmentation.None), image));
        var white = new Image(90, 70, 3);
        Array.Fill(white.Pixels, (byte)255);
        foreach (Augmentation kind in new[] { Augmentation.RandomResizedCrop, Augmentation.PadCropFlip })
        {
            float[] pixels = Run(ImagePipeline.Train(info, p, kind), white);
            Assert.Equal(3 * 56 * 56, pixels.Length);
            for (int c = 0; c < 3; c++) Assert.Equal((1 - p.Mean[c]) / p.Std[c], pixels[c * 56 * 56 + 28 * 56 + 28]);
        }
    }

    [Fact]
    public void WhatIsDrawnIsWhatIsSeen()
    {
        Image image = Picture(JsonSerializer.SerializeToElement(new[] { 64, 32, 1 }));
        Assert.Same(image, ImagePipeline.Seen(Preprocessing.Half(28, 1), image));
        Image seen = ImagePipeline.Seen(Preprocessing.Preset("clip", 32, 1), image);
        Assert.Equal((32, 32), (seen.Width, seen.Height));
        Assert.Equal(image.Pixels[16], seen.Pixels[0]);
    }

    /// <summary>Pixels made one way and turned are those made the other way.</summary>
    [Theory]
    [InlineData("imagenet", 3, "half", 3)]
    [InlineData("half", 3, "clip", 3)]
    [InlineData("clip", 3, "bgr", 3)]
    [InlineData("bgr", 3, "imagenet", 3)]
    [InlineData("half", 1, "imagenet", 3)]
    [InlineData("imagenet", 1, "bgr", 3)]
    public void PixelsAreTurnedIntoAnothersWay(string from, int channels, string to, int outputs)
    {
        using var scope = new Scope();
        Preprocessing a = Numbers(from, channels), b = Numbers(to, outputs);
        Image image = Picture(JsonSerializer.SerializeToElement(new[] { 32, 32, channels }));
        Tensor turned = new PixelMap(a, b).Run(Tensor.From(new Shape(1, channels, 32, 32), Run(ImagePipeline.Eval(a), image)));
        float[] expected = Run(ImagePipeline.Eval(b), image);
        float largest = expected.Max(MathF.Abs);
        Assert.Equal(expected, turned.ToArray(), (x, y) => Math.Abs(x - y) < 2e-6f * largest);
    }

    [Fact]
    public void ColoursBecomeGreyByTheirBrightness()
    {
        using var scope = new Scope();
        Tensor colour = Tensor.From(new Shape(1, 3, 1, 1), [1f, 0f, 0.5f]);
        foreach (string name in new[] { "half", "bgr" })
        {
            Preprocessing from = Numbers(name, 3) with { Divisor = 255, Mean = [0], Std = [1] };
            float red = 0.299f, blue = 0.114f;
            float grey = name == "half" ? red + 0.5f * blue : blue + 0.5f * red;
            Preprocessing to = Preprocessing.Half(32, 1);
            Assert.Equal((grey - 0.5f) / 0.5f, new PixelMap(from, to).Run(colour).ToArray()[0], 1e-6f);
        }
    }

    [Fact]
    public void TheSameWayLeavesImagesAlone()
    {
        using var scope = new Scope();
        Tensor images = Tensor.Zeros(new Shape(2, 3, 4, 4));
        foreach (string name in Preprocessing.Names)
            Assert.Same(images, new PixelMap(Preprocessing.Preset(name, 4), Preprocessing.Preset(name, 8)).Run(images));
    }

    private static Preprocessing Numbers(string name, int channels) =>
        (name == "bgr" ? Preprocessing.Half(32, 3) with { Colors = ColorOrder.Bgr, Divisor = 1, Mean = [103.939f, 116.779f, 123.68f], Std = [1, 2, 3] }
            : Preprocessing.Preset(name, 32, channels)) with { Resize = 32, Fit = ResizeFit.Square, Filter = Interpolation.Bilinear };

    private static float[] Run(ImagePipeline pipeline, Image image)
    {
        var rng = new Rng(5);
        float[] pixels = new float[pipeline.Channels * pipeline.ImageSize * pipeline.ImageSize];
        pipeline.Run(image, ref rng, pixels);
        return pixels;
    }

    /// <summary>The picture of the script's formula.</summary>
    private static Image Picture(JsonElement size)
    {
        var (width, height, channels) = (size[0].GetInt32(), size[1].GetInt32(), size[2].GetInt32());
        var image = new Image(width, height, channels);
        for (int y = 0, i = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                for (int c = 0; c < channels; c++, i++)
                    image.Pixels[i] = (byte)((x * x * (c + 1) + 3 * y * y + 7 * x * y) / 64 + 40 * c);
        return image;
    }
}
