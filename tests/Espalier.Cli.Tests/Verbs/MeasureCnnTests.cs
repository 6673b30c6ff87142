using System.Text.Json;
using System.Text.RegularExpressions;
using Espalier.Evaluation;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Memory;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>`profile` and `bench` with convolutional networks.</summary>
public sealed class MeasureCnnTests : IDisposable
{
    private static readonly string[] Quick =
        ["--warmup", "1", "--repeats", "2", "--min-time", "0", "--threads", "1", "--format", "jsonl"];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void The_profile_has_a_line_for_each_block_and_adds_up()
    {
        Outcome outcome = Tool.Run("profile", "--model-type", "resnet20", "--width", "0.25", "--batch-size", "2", "--ops")
            .MustSucceed();
        Assert.Contains("resnet20 x 0.25, images of 32 pixels, batch of 2", outcome.Out);
        foreach (string row in new[] { "conv1", "layer1.0", "layer3.2", "linear", "  conv2", "  bn1" })
            Assert.Contains(row, outcome.Out);
        using Cnn net = CnnPresets.Create(CnnPresets.Get("resnet20") with { Width = 0.25 });
        string parameters = $"{net.ParameterCount / 1e3:0.00} k";
        Assert.Matches($@"total\s+{Regex.Escape(parameters)}\s+{net.CountMultiplyAdds() / 1e6:0.00} M", outcome.Out);
    }

    /// <summary>A file of some kilobytes can describe layers of which all maps together are gigabytes; a pass keeps those that are
    /// read again.</summary>
    [Fact]
    public void A_profile_keeps_no_map_that_is_read_no_more()
    {
        using Model model = Model.Create("densenet40", 10, 1, 64, width: 0.25);
        using Tensor images = Tensor.Unscoped(new Shape(1, 1, 64, 64));
        images.Fill(0.5f);
        TensorPool.ResetPeak();
        long before = TensorPool.BytesInUse;
        IReadOnlyList<LayerProfile> layers = NetworkProfile.Run(model.Graph, images, passes: 1);
        Assert.InRange(TensorPool.PeakBytesInUse - before, 1, layers.Sum(l => l.ActivationBytes) / 4);
    }

    [Fact]
    public void A_pruned_file_is_profiled_as_it_is()
    {
        string model = SmallCnn.WritePruned(folder.File("small.safetensors"));
        using Model loaded = Model.Open(model);
        Assert.Matches($@"total\s+{loaded.ParameterCount / 1e3:0.00} k",
            Tool.Run("profile", "--model", model).MustSucceed().Out);
    }

    [Fact]
    public void Passes_and_training_steps_of_a_file_are_measured()
    {
        string model = SmallCnn.WritePruned(folder.File("small.safetensors"));
        JsonElement[] rows = Bench(["--model", model, "--mode", "infer,train", "--batch-size", "2,3"]);
        Assert.Equal(["infer", "infer", "train", "train"], rows.Select(r => r.GetProperty("mode").GetString()));
        using Model loaded = Model.Open(model);
        foreach (JsonElement row in rows)
        {
            string mode = row.GetProperty("mode").GetString()!;
            double macs = loaded.Graph.CostPerImage.MultiplyAdds * (mode == "train" ? 3 : 1) / 1e9;
            Assert.Equal(macs, row.GetProperty($"{mode}_gmacs").GetDouble(), 4);
            Assert.Equal(16, row.GetProperty($"{mode}_img_size").GetInt32());
            Assert.Equal("dense", row.GetProperty("variant").GetString());
            Assert.False(row.TryGetProperty("tokens", out _));
        }
    }

    [Fact]
    public void A_preset_is_measured_at_any_width_and_size()
    {
        JsonElement[] rows = Bench(["--model-type", "mobilenet_v2", "--width", "0.1", "--img-size", "32", "--batch-size", "1,3"]);
        Assert.Equal([1, 3], rows.Select(r => r.GetProperty("infer_batch_size").GetInt32()));
        Assert.Equal(32, rows[0].GetProperty("infer_img_size").GetInt32());
    }

    [Theory]
    [InlineData("--keep-share", "bench --model-type resnet20 --keep-share 0.5")]
    [InlineData("has no agents", "bench --model-type resnet20 --pruned")]
    [InlineData("larger batches", "bench --model-type cifar-vgg11 --img-size 16 --width 0.1 --mode train --batch-size 1")]
    [InlineData("fp32", "bench --model-type resnet20 --precision fp32,int8")]
    [InlineData("--width", "bench --model-type vit-tiny-28 --width 0.5")]
    [InlineData("--width", "profile --model-type vit-tiny-28 --width 0.5")]
    [InlineData("imageSize", "profile --model-type resnet20 --img-size 4")]
    public void Wrong_arguments(string expected, string arguments) =>
        Assert.Contains(expected, Tool.Run(arguments.Split(' ')).MustFail(2));

    private static JsonElement[] Bench(string[] arguments)
    {
        Outcome outcome = Tool.Run(["bench", .. arguments, .. Quick]);
        Assert.True(outcome.Code == 0, outcome.Error);
        return [.. outcome.Out.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement)];
    }
}
