using System.Text.Json;
using Espalier.Data;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>`infer` and `predict` with convolutional networks.</summary>
public sealed class InferCnnTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void What_compress_wrote_is_run_with_nothing_else()
    {
        string model = SmallCnn.WritePruned(folder.File("small.safetensors")), output = folder.File("out.jsonl");
        Outcome outcome = Tool.Run("infer", "--model", model, "--limit", "20", "--batch-size", "8", "--output", output)
            .MustSucceed();
        Assert.Contains("fashion-mnist-sample", outcome.Out);
        Assert.Contains("cifar-vgg11", outcome.Out);
        Assert.Matches(@"accuracy\s+\d+\.\d\d %", outcome.Out);
        Assert.DoesNotContain("tokens", outcome.Out);
        using Model loaded = Model.Open(model);
        Assert.Matches($@"MACs/image\s+{loaded.Graph.CostPerImage.MultiplyAdds / 1e3:0.00} k\r?\n", outcome.Out);

        JsonElement[] lines = [.. File.ReadLines(output).Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.Equal(20, lines.Length);
        IImageDataset test = FashionMnist.OpenSample().Test;
        for (int i = 0; i < lines.Length; i++)
        {
            float[] expected = Logits(loaded, test.ReadImage(i));
            float[] logits = [.. lines[i].GetProperty("logits").EnumerateArray().Select(x => x.GetSingle())];
            Golden.AssertClose(expected, logits, $"image {i}");
            Assert.Equal(i, lines[i].GetProperty("index").GetInt32());
            Assert.Equal(test.Label(i), lines[i].GetProperty("label").GetInt32());
            Assert.Equal(Array.IndexOf(expected, expected.Max()), lines[i].GetProperty("prediction").GetInt32());
            Assert.False(lines[i].TryGetProperty("tokens", out _));
        }
    }

    [Fact]
    public void The_training_images_can_be_asked_for()
    {
        string model = SmallCnn.Write(folder.File("net.safetensors"));
        Assert.Contains("2000 images", Tool.Run("infer", "--model", model, "--split", "train").MustSucceed().Out);
    }

    [Fact]
    public void Published_weights_need_the_networks_name()
    {
        string model = SmallCnn.Write(folder.File("net.safetensors"));
        Assert.Contains("--model-type", Tool.Run("infer", "--model", model, "--model-type", "resnet20").MustFail(2));
        Assert.Contains("leave --config out", Tool.Run("infer", "--model", model, "--config", Golden.Config).MustFail(2));
        Assert.Contains("vit-tiny-28", Tool.Run("infer", "--model", Vit(), "--model-type", "resnet20").MustFail(2));
        Assert.Contains("ViT-B_16", Tool.Run("infer", "--model", model, "--model-type", "ViT-B_16").MustFail(2));
    }

    [Theory]
    [InlineData("--keep-share 0.5", "--keep-share")]
    [InlineData("--threshold 0.5", "--threshold")]
    [InlineData("--curve", "--curve")]
    [InlineData("--precision int8", "no linear layer")]
    [InlineData("--precision bf16", "no linear layer")]
    [InlineData("--config shape.json", "shape.json: no such")]
    [InlineData("--data cifar100 --data-dir nowhere", "nowhere")]
    public void What_only_transformers_have_is_refused(string arguments, string expected)
    {
        string model = SmallCnn.Write(folder.File("net.safetensors"));
        Assert.Contains(expected, Tool.Run(["infer", "--model", model, .. arguments.Split(' ')]).MustFail(2));
    }

    [Fact]
    public void A_threshold_is_for_agents()
    {
        string model = SmallCnn.Write(folder.File("net.safetensors"));
        string line = Tool.Run("export", "--model", model, "--onnx", folder.File("out.onnx"), "--threshold", "0.5").MustFail(2);
        Assert.Contains("net.safetensors", line);
    }

    [Fact]
    public void An_image_file_is_classified_by_name()
    {
        string model = SmallCnn.Write(folder.File("net.safetensors")), image = folder.File("boot.png");
        PngWriter.Write(image, FashionMnist.OpenSample().Test.ReadImage(0));
        string output = Tool.Run("predict", image, "--model", model, "--top", "10", "--output-dir", folder.File("drawn"))
            .MustSucceed().Out;
        foreach (string name in FashionMnist.ClassNames) Assert.Contains($" %  {name}", output);
        Assert.DoesNotContain("tokens", output);
        Assert.False(Directory.Exists(folder.File("drawn")));
        using Model loaded = Model.Open(model);
        float[] logits = Logits(loaded, FashionMnist.OpenSample().Test.ReadImage(0));
        Assert.EndsWith(FashionMnist.ClassNames[Array.IndexOf(logits, logits.Max())],
            output.Split('\n').First(l => l.Contains(" %  ", StringComparison.Ordinal)).TrimEnd());
    }

    private string Vit()
    {
        string path = folder.File("vit.safetensors");
        VitConfig config = VitPresets.Get("vit-tiny-28");
        using Model vit = Model.FromModule(new VisionTransformer(config));
        vit.Save(path);
        return path;
    }

    private static float[] Logits(Model net, Image image)
    {
        using var scope = new Scope();
        var pixels = new Tensor(new Shape(1, net.Channels, net.ImageSize, net.ImageSize));
        var rng = new Rng(0);
        ImagePipeline.Eval(net.ImageSize, net.Channels).Run(image, ref rng, pixels.Span);
        return net.Graph.Run(pixels).ToArray();
    }
}
