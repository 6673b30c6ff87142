using System.Text.Json;
using Espalier.Data;
using Espalier.Imaging;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>`compress` with recovery, on images without labels, and with the time as its target.</summary>
public sealed class CompressRecoverTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-recover").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void Without_labels_to_a_share_of_the_time()
    {
        string model = SmallCnn.Write(Path.Combine(folder, "whole.safetensors")), output = Path.Combine(folder, "small.safetensors");
        Outcome run = Tool.Run("compress", "l1", "--model", model, "--target-time", "0.8", "--round-to", "1", "--recover", "--calibration",
            Pictures(40), "--calibration-images", "24", "--output", output).MustSucceed();
        Assert.Contains("recovered without training: ", run.Out, StringComparison.Ordinal);
        Assert.Contains("fitted to 24 images", run.Out, StringComparison.Ordinal);
        Assert.Contains("same answer", run.Out, StringComparison.Ordinal);
        Assert.Contains("8 held-out images without labels from pictures", run.Out, StringComparison.Ordinal);
        Assert.True(new FileInfo(output).Length < new FileInfo(model).Length);
        Tool.Run(["infer", "--model", output, .. SmallCnn.Data]).MustSucceed();
    }

    [Theory]
    [InlineData("output-error")]
    [InlineData("variance")]
    public void By_activations_of_a_data_set(string method)
    {
        string report = Path.Combine(folder, "report.json");
        Outcome run = Tool.Run(["compress", method, "--model", SmallCnn.Write(Path.Combine(folder, "whole.safetensors")), "--set", "images=32",
            "--recover", "--report", report, .. SmallCnn.Data]).MustSucceed();
        Assert.Contains("recovered without training: ", run.Out, StringComparison.Ordinal);
        Assert.Contains("output's cosine", run.Out, StringComparison.Ordinal);
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(report));
        Assert.Equal("without training, from 512 images at most", json.RootElement.GetProperty("options").GetProperty("recovery").GetString());
        JsonElement[] layers = [.. Assert.Single(json.RootElement.GetProperty("recoveries").EnumerateArray()).EnumerateArray()];
        Assert.NotEmpty(layers);
        Assert.All(layers, l => Assert.InRange(l.GetProperty("after").GetDouble(), 0, l.GetProperty("before").GetDouble() + 1e-9));
        Assert.All(layers, l => Assert.InRange(l.GetProperty("kept").GetInt32(), 1, l.GetProperty("read").GetInt32()));
    }

    /// <summary>CORP makes up for what it removes without being asked; a target that a method does not have is refused.</summary>
    [Fact]
    public void Transformers_without_labels_and_without_a_target()
    {
        string model = Path.Combine(folder, "vit.safetensors"), output = Path.Combine(folder, "small.safetensors");
        using (Model vit = Model.Create("vit-tiny-28", 10, 1, 28)) vit.Save(model);
        Outcome run = Tool.Run("compress", "corp", "--model", model, "--calibration", Pictures(40), "--ratio", "0.3", "--set", "images=24",
            "--output", output).MustSucceed();
        Assert.Contains("from 24 images: the output is off by", run.Out, StringComparison.Ordinal);
        using (Model small = Model.Open(output)) Assert.Contains("corp", Assert.Single(small.Card.History), StringComparison.Ordinal);

        string[] slim = ["compress", "patch-slimming", "--model", model, "--data", "fashion-mnist-sample", "--set", "tune=0,step=49"];
        Assert.Contains("the positions that --set epsilon asks for; it has no --ratio, --target-flops or other target",
            Tool.Run([.. slim, "--target-flops", "0.5"]).MustFail(2), StringComparison.Ordinal);
        string done = Tool.Run(slim).MustSucceed().Out;
        Assert.Contains("patch-slimming: multiply-adds", done, StringComparison.Ordinal);
        Assert.Contains("differs from the masked network", done, StringComparison.Ordinal);
    }

    [Fact]
    public void What_needs_labels_says_so()
    {
        string model = SmallCnn.Write(Path.Combine(folder, "whole.safetensors")), pictures = Pictures(4);
        foreach (string[] arguments in new string[][] { ["taylor"], ["l1", "--fine-tune-steps", "5"] })
        {
            Assert.Contains("its images have no labels, which",
                Tool.Run(["compress", .. arguments, "--model", model, "--calibration", pictures]).MustFail(2), StringComparison.Ordinal);
        }
        Assert.Contains("no such folder of images",
            Tool.Run("compress", "l1", "--model", model, "--calibration", Path.Combine(folder, "no")).MustFail(2), StringComparison.Ordinal);
        Assert.Contains("neither auto nor a whole number",
            Tool.Run("compress", "l1", "--model", model, "--round-to", "some").MustFail(2), StringComparison.Ordinal);
    }

    /// <summary>Some of the sample's pictures, in one folder.</summary>
    private string Pictures(int count)
    {
        string path = Path.Combine(folder, "pictures");
        Directory.CreateDirectory(path);
        IImageDataset sample = Datasets.OpenSample().Train;
        for (int i = 0; i < count; i++)
        {
            using FileStream stream = File.Create(Path.Combine(path, $"{i:000}.png"));
            PngWriter.Write(stream, sample.ReadImage(i));
        }
        return path;
    }
}
