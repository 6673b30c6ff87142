using System.Text;
using System.Text.Json;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Models;

/// <summary>Against torchvision: the same names, sizes and, with weights made by one formula, logits (make_cnn.py).</summary>
public sealed class CnnTests
{
    private static readonly JsonElement Golden = JsonDocument.Parse(
        File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Goldens", "Models", "cnn.json"))).RootElement;

    public static TheoryData<string> Networks => [.. Golden.GetProperty("networks").EnumerateObject().Select(n => n.Name)];

    [Theory]
    [MemberData(nameof(Networks))]
    public void LogitsAndNamesAreTorchvisions(string name)
    {
        JsonElement expected = Golden.GetProperty("networks").GetProperty(name);
        int size = expected.GetProperty("size").GetInt32(), classes = Golden.GetProperty("classes").GetInt32();
        using Cnn net = CnnPresets.Create(CnnPresets.Get(name) with { ImageSize = size, NumClasses = classes });
        foreach (var (key, tensor) in net.StateDict())
            if (!key.EndsWith(".index", StringComparison.Ordinal))
                Fill(key, tensor);
        net.Training = false;
        using var scope = new Scope();
        var images = new Tensor(new Shape(2, 3, size, size));
        FillUniform("images", images.Span);

        string[] names = [.. net.NamedParameters().Select(p => p.Name).Order(StringComparer.Ordinal)];
        Assert.Equal(expected.GetProperty("names").GetUInt32(), Crc(string.Join('\n', names)));
        Span<float> logits = net.Forward(images).Span;
        float[] reference = [.. expected.GetProperty("logits").EnumerateArray().Select(x => x.GetSingle())];
        Assert.Equal(reference.Length, logits.Length);
        float largest = reference.Max(MathF.Abs);
        for (int i = 0; i < reference.Length; i++) Assert.Equal(reference[i], logits[i], 1e-4f * largest);
    }

    [Theory]
    [InlineData("resnet18", 11_689_512)]
    [InlineData("resnet34", 21_797_672)]
    [InlineData("resnet50", 25_557_032)]
    [InlineData("resnet101", 44_549_160)]
    [InlineData("resnet20", 269_722)]
    [InlineData("resnet56", 853_018)]
    [InlineData("resnet110", 1_727_962)]
    [InlineData("preresnet20", 219_482)]
    [InlineData("preresnet164", 1_703_258)]
    [InlineData("preresnet164", 1_726_388, 100)]
    [InlineData("densenet40", 1_059_298)]
    [InlineData("densenet40", 1_100_428, 100)]
    [InlineData("densenet121", 7_978_856)]
    [InlineData("mobilenet_v2", 3_504_872)]
    [InlineData("mobilenet_v3_small", 2_542_856)]
    [InlineData("mobilenet_v3_large", 5_483_032)]
    [InlineData("efficientnet_b0", 5_288_548)]
    [InlineData("efficientnet_b1", 7_794_184)]
    [InlineData("efficientnet_b2", 9_109_994)]
    [InlineData("efficientnet_b3", 12_233_232)]
    [InlineData("efficientnet_b4", 19_341_616)]
    [InlineData("convnext_tiny", 28_589_128)]
    [InlineData("regnet_x_400mf", 5_495_976)]
    [InlineData("regnet_y_400mf", 4_344_144)]
    [InlineData("regnet_y_800mf", 6_432_512)]
    [InlineData("shufflenet_v2_x1_0", 2_278_604)]
    [InlineData("xception", 22_855_952)]
    [InlineData("cifar-vgg16", 14_724_042)]
    [InlineData("cifar-vgg19", 20_035_018)]
    [InlineData("cifar-vgg19", 20_081_188, 100)]
    [InlineData("vanilla-c3", 347_082)]
    public void ParameterCounts(string name, long count, int? classes = null)
    {
        CnnConfig config = CnnPresets.Get(name);
        using Cnn net = CnnPresets.Create(config with { NumClasses = classes ?? config.NumClasses });
        Assert.Equal(count, net.ParameterCount);
    }

    /// <summary>Every network runs forward and back, narrow and on small images, and its first convolution gets a gradient.</summary>
    [Theory]
    [InlineData("vgg16_bn", 32)]
    [InlineData("cifar-vgg11", 28)]
    [InlineData("vanilla-c3", 8)]
    [InlineData("resnet34", 32)]
    [InlineData("resnet50", 32)]
    [InlineData("resnet20", 28)]
    [InlineData("preresnet20", 28)]
    [InlineData("densenet40", 28)]
    [InlineData("densenet121", 32)]
    [InlineData("mobilenet_v2", 32)]
    [InlineData("mobilenet_v3_small", 32)]
    [InlineData("efficientnet_b0", 32)]
    [InlineData("efficientnet_b1", 32)]
    [InlineData("convnext_tiny", 32)]
    [InlineData("regnet_x_400mf", 32)]
    [InlineData("regnet_y_400mf", 32)]
    [InlineData("shufflenet_v2_x1_0", 32)]
    [InlineData("xception", 71)]
    public void TrainsNarrowOnGreyImages(string name, int size)
    {
        using Cnn net = CnnPresets.Create(new CnnConfig(name)
        {
            ImageSize = size, Channels = 1, NumClasses = 10, Width = 0.125,
        });
        using var scope = new Scope();
        var images = new Tensor(new Shape(3, 1, size, size));
        FillUniform("images", images.Span);
        using var recording = new Recording();
        Tensor logits = net.Forward(images);
        Assert.Equal(new Shape(3, 10), logits.Shape);
        recording.Backward(F.CrossEntropy(logits, [1, 5, 9]));
        Tensor first = net.Parameters().First();
        Assert.Contains(first.Grad!.ToArray(), g => g != 0);
        Assert.DoesNotContain(first.Grad!.ToArray(), float.IsNaN);
    }

    [Fact]
    public void WrongShapesAreRefusedInOneLine()
    {
        Assert.Contains("vgg99", Assert.Throws<EspalierException>(() => CnnPresets.Get("vgg99")).Message);
        CnnConfig config = CnnPresets.Get("resnet18");
        Assert.Throws<EspalierException>(() => CnnPresets.Create(config with { NumClasses = 0 }));
        Assert.Throws<EspalierException>(() => CnnPresets.Create(config with { Width = 0 }));
        Assert.Throws<EspalierException>(() => CnnPresets.Create(new CnnConfig("vgg16") { ImageSize = 28 }));
    }

    private static void Fill(string name, Tensor tensor)
    {
        Span<float> values = tensor.Span;
        int fanIn = tensor.Rank >= 2 ? (int)(tensor.Length / tensor.Shape[0]) : 1;
        double scale = tensor.Rank >= 2 ? Math.Sqrt(6.0 / fanIn) : name.EndsWith("running_var", StringComparison.Ordinal) ? 0.5 : 0.2;
        bool aroundOne = name.EndsWith("running_var", StringComparison.Ordinal)
            || (tensor.Rank < 2 && name.EndsWith("weight", StringComparison.Ordinal));
        uint start = Crc(name);
        for (int i = 0; i < values.Length; i++) values[i] = (float)((aroundOne ? 1 : 0) + scale * Uniform(start, i));
    }

    private static void FillUniform(string name, Span<float> values)
    {
        uint start = Crc(name);
        for (int i = 0; i < values.Length; i++) values[i] = (float)Uniform(start, i);
    }

    private static double Uniform(uint start, int index) => unchecked(start + (uint)index * 2654435761u) / 2147483648.0 - 1;

    private static uint Crc(string text)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in Encoding.UTF8.GetBytes(text))
        {
            crc ^= b;
            for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) * 0xEDB88320u);
        }
        return ~crc;
    }
}
