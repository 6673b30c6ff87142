using System.Text.Json;

namespace Espalier.Cli.Tests.Verbs;

public sealed class SensitivityVerbTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Every_layer_is_tried_at_every_share()
    {
        string model = folder.File("model.safetensors"), data = folder.File("s.json"), page = folder.File("s.html");
        Tool.Run("compress", "l1", "--model-type", "cifar-vgg11", "--width", "0.1", "--img-size", "16", "--data", "fashion-mnist-sample",
            "--pretrain-steps", "5", "--batch-size", "16", "--ratio", "0.1", "--output", model).MustSucceed();
        byte[] before = File.ReadAllBytes(model);
        Outcome done = Tool.Run("compress", "sensitivity", "--model", model, "--ratios", "0.6,0.3", "--limit", "50", "--report", data)
            .MustSucceed();
        Assert.Contains("how far     each group alone costs at most 1 point up to", done.Out);
        Assert.Contains("on 50 test images", done.Out);
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(data));
        JsonElement group = json.RootElement.GetProperty("result").GetProperty("groups")[0];
        Assert.Equal([0.3, 0.6], group.GetProperty("points").EnumerateArray().Select(p => p.GetProperty("ratio").GetDouble()));
        Assert.Contains(group.GetProperty("name").GetString()!, done.Out);
        Assert.Equal("taylor", Swept("compress", "taylor", "sensitivity"));
        Assert.Equal("l2", Swept("compress", "sensitivity", "--method", "l2"));
        Tool.Run("compress", "sensitivity", "--model", model, "--ratios", "0.5", "--limit", "50", "--report", page).MustSucceed();
        Assert.Contains("how far each layer can go", File.ReadAllText(page));
        Assert.Equal(before, File.ReadAllBytes(model));

        string Swept(params string[] start)
        {
            Tool.Run([.. start, "--model", model, "--ratios", "0.5", "--limit", "20", "--report", data]).MustSucceed();
            using JsonDocument swept = JsonDocument.Parse(File.ReadAllText(data));
            return swept.RootElement.GetProperty("method").GetString()!;
        }
    }

    [Theory]
    [InlineData("soft-filter chooses while it trains", "--model", "m", "--method", "soft-filter")]
    [InlineData("there is no method", "--model", "m", "--method", "magic")]
    [InlineData("--ratios", "--model", "m", "--ratios", "0.5,1.2")]
    [InlineData("--report", "--model", "m", "--report", "x.txt")]
    [InlineData("--model FILE", "--method", "l1")]
    public void What_cannot_be_swept_is_one_line(string says, params string[] options) =>
        Assert.Contains(says, Tool.Run(["compress", "sensitivity", .. options]).MustFail(2));
}
