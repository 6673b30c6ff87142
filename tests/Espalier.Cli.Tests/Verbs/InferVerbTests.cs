using System.Text.Json;

namespace Espalier.Cli.Tests.Verbs;

public sealed class InferVerbTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("16")]
    [InlineData("1")]
    [InlineData("64")]
    public void Tokens_and_logits_are_the_references_in_any_batch(string batchSize)
    {
        string output = folder.File("out.jsonl");
        Tool.Run(["infer", .. Golden.Model, "--batch-size", batchSize, "--output", output]).MustSucceed();
        JsonElement[] expected = Golden.Expected(), actual = Lines(output);
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(i, actual[i].GetProperty("index").GetInt32());
            Assert.Equal(Integers(expected[i], "tokens"), Integers(actual[i], "tokens"));
            Golden.AssertClose(Floats(expected[i], "logits"), Floats(actual[i], "logits"), $"image {i}");
        }
    }

    [Fact]
    public void Without_pruning_every_token_stays_after_every_layer()
    {
        string output = folder.File("out.jsonl");
        Outcome outcome = Tool.Run(["infer", .. Golden.Model, "--no-prune", "--output", output]).MustSucceed();
        Assert.Contains("100.0 % of the dense model", outcome.Out);
        JsonElement[] expected = Golden.Expected(), actual = Lines(output);
        Assert.Equal(64, expected.Length);
        Assert.Equal(expected.Length, actual.Length);
        foreach (var (reference, line) in expected.Zip(actual))
        {
            Assert.Equal([50, 50, 50], Integers(line, "tokens"));
            Golden.AssertClose(Floats(reference, "plain"), Floats(line, "logits"), "plain");
        }
    }

    [Fact]
    public void A_line_has_the_documented_form()
    {
        string output = folder.File("out.jsonl");
        Tool.Run(["infer", .. Golden.Model, "--limit", "3", "--output", output]).MustSucceed();
        string[] lines = File.ReadAllLines(output);
        Assert.Equal(3, lines.Length);
        Assert.Matches("""^\{"index":0,"label":\d,"prediction":\d,"logits":\[(-?[0-9.E-]+,){9}-?[0-9.E-]+\],"tokens":\[50,39,23\]\}$""",
            lines[0]);
        Assert.Equal([output], Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void The_threshold_moves_the_number_of_tokens()
    {
        Outcome none = Tool.Run(["infer", .. Golden.Model, "--threshold", "1"]).MustSucceed();
        Assert.Matches(@"after layer 3\s+50.00\s+50\s+50", none.Out);
        Outcome all = Tool.Run(["infer", .. Golden.Model, "--threshold", "0"]).MustSucceed();
        Assert.Matches(@"after layer 1\s+1.00\s+1\s+1", all.Out);
    }

    [Fact]
    public void A_share_keeps_as_many_tokens_of_every_image()
    {
        Outcome outcome = Tool.Run(["infer", .. Golden.Model, "--keep-share", "0.5"]).MustSucceed();
        Assert.Contains("pruned, keep share 0.5", outcome.Out);
        Assert.Matches(@"after layer 1\s+26.00\s+26\s+26", outcome.Out);
        Assert.Matches(@"after layer 3\s+14.00\s+14\s+14", outcome.Out);
        Assert.Contains("give one of them",
            Tool.Run(["infer", .. Golden.Model, "--keep-share", "0.5", "--threshold", "0.5"]).MustFail(2));
    }

    [Fact]
    public void The_curve_has_a_line_for_each_threshold_and_one_unpruned()
    {
        Outcome outcome = Tool.Run(["infer", .. Golden.Model, "--limit", "16", "--curve"]).MustSucceed();
        for (int t = 1; t <= 9; t++) Assert.Contains($"0.{t}0 ", outcome.Out);
        Assert.Contains("unpruned", outcome.Out);
    }

    [Fact]
    public void A_preset_takes_classes_and_channels_from_the_checkpoint()
    {
        Tool.Run("train", "--data", "fashion-mnist-sample", "--model-type", "vit-tiny-28", "--num-steps", "1",
            "--train-batch-size", "4",
            "--eval-limit", "10", "--output-dir", folder.Path).MustSucceed();
        Tool.Run("infer", "--model", folder.File("apt.safetensors"), "--model-type", "vit-tiny-28", "--limit",
            "10").MustSucceed();
    }

    [Fact]
    public void A_failure_leaves_no_output_behind()
    {
        string output = folder.File("out.jsonl");
        File.WriteAllText(output, "from before");
        using var cancel = new CancellationTokenSource();
        cancel.Cancel();
        Outcome outcome = Tool.Run(new StringWriter(), cancel.Token, ["infer", .. Golden.Model, "--output", output]);
        Assert.Equal("espalier: interrupted", outcome.MustFail(130));
        Assert.Equal([output], Directory.GetFiles(folder.Path));
        Assert.Equal("from before", File.ReadAllText(output));
    }

    private static JsonElement[] Lines(string path) => [.. File.ReadLines(path).Select(l => JsonDocument.Parse(l).RootElement)];

    private static int[] Integers(JsonElement line, string name) =>
        [.. line.GetProperty(name).EnumerateArray().Select(x => x.GetInt32())];

    private static float[] Floats(JsonElement line, string name) =>
        [.. line.GetProperty(name).EnumerateArray().Select(x => x.GetSingle())];
}
