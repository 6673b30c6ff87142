using System.Globalization;
using System.Text.RegularExpressions;
using Espalier.Imaging;

namespace Espalier.Cli.Tests.Verbs;

public sealed class QuantizeVerbTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_network_is_rounded_and_compared()
    {
        string model = SmallCnn.Write(folder.File("model.safetensors")), output = folder.File("int8.safetensors");
        string text = Tool.Run("quantize", "--model", model, "--output", output, "--calibration-images", "16", "--limit",
            "50").MustSucceed().Out;
        Assert.Contains("accuracy", text);
        Assert.Contains("9 in few bits; floats: none", text);
        Assert.Contains("batch norms folded", text);
        Assert.True(new FileInfo(output).Length < 0.45 * new FileInfo(model).Length);
        Assert.Contains("accuracy", Tool.Run("infer", "--model", output, "--limit", "20").MustSucceed().Out);
        Tool.Run("export", "--model", output, "--onnx", folder.File("int8.onnx")).MustSucceed();
        Assert.Contains("few bits already", Tool.Run("quantize", "--model", output).MustFail(2));
    }

    [Fact]
    public void Bits_are_chosen_layer_by_layer()
    {
        string model = SmallCnn.Write(folder.File("model.safetensors")), output = folder.File("mixed.safetensors");
        string text = Tool.Run("quantize", "--model", model, "--output", output, "--calibration-images", "16", "--limit", "50",
            "--target-size", "0.2", "--second-moments", "--correct-bias").MustSucceed().Out;
        Assert.Matches("bits +[1-8] layers in 4, [1-8] in 8", text);
        Assert.Contains("rounded by second moments", text);
        Assert.Contains("--target-size must be larger", Tool.Run("quantize", "--model", model, "--calibration-images", "16",
            "--target-size", "0.1").MustFail(2));
    }

    [Fact]
    public void Images_without_labels_tell_how_often_the_answer_is_the_same()
    {
        string model = SmallCnn.Write(folder.File("model.safetensors"));
        string text = Tool.Run("quantize", "--model", model, "--calibration", Pictures(), "--bits", "2", "--min-accuracy",
            "25").MustSucceed().Out;
        Assert.Contains("same answer", text);
    }

    /// <summary>Only where they answer otherwise than before; what helps and was not asked for is named.</summary>
    [Theory]
    [InlineData("--bits 2 --activation-bits 2 --per-tensor",
        "leave --per-tensor out, --equalise, --bits 8, --activation-bits 8, --min-accuracy")]
    [InlineData("--bits 2 --equalise", "try --bits 8, --min-accuracy")]
    [InlineData("--bits 8", null)]
    public void Depthwise_networks_that_rounding_takes_apart_are_warned_of(string options, string? help)
    {
        string model = SmallCnn.Write(folder.File("model.safetensors"), "mobilenet_v2");
        string[] run = ["quantize", "--model", model, "--calibration-images", "16", "--limit", "200", .. options.Split(' ')];
        string text = Tool.Run(run).MustSucceed().Out;
        string said = Regex.Match(text, @"same answer[^%]*%[^0-9]*([0-9.]+) %").Groups[1].Value;
        double same = double.Parse(said, CultureInfo.InvariantCulture);
        Assert.Equal(help is not null, same < 95);
        if (help is null) Assert.DoesNotContain("warning", text);
        else Assert.Contains(help, Assert.Single(text.Split('\n'), l => l.StartsWith("warning ", StringComparison.Ordinal)));
    }

    [Fact]
    public void What_cannot_be_done_is_one_line()
    {
        string model = SmallCnn.Write(folder.File("model.safetensors"));
        Assert.Contains("--model", Tool.Run("quantize").MustFail(2));
        Directory.CreateDirectory(folder.File("empty"));
        Assert.Contains("empty", Tool.Run("quantize", "--model", model, "--calibration", folder.File("empty")).MustFail(2));
        Assert.Contains("no layer 'features.9'", Tool.Run("quantize", "--model", model, "--keep", "features.9").MustFail(2));
    }

    private string Pictures()
    {
        string pictures = folder.File("pictures");
        Directory.CreateDirectory(pictures);
        for (int n = 0; n < 20; n++)
        {
            var image = new Image(28, 28, 1);
            for (int i = 0; i < image.Pixels.Length; i++) image.Pixels[i] =
                (byte)(n * 11 + (n % 3 + 1) * (i % 28) + (n % 5) * (i / 28));
            PngWriter.Write(Path.Combine(pictures, $"{n}.png"), image);
        }
        return pictures;
    }
}
