using Espalier.Compression;
namespace Espalier.Cli.Tests.Verbs;

/// <summary>A run of `compress` that was stopped goes on with --resume.</summary>
public sealed class CompressResumeTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("soft-filter", "--target-flops 0.6", "step 4 of 4", "1-train 2-soft-pruning 3-fine-tune")]
    // A target far above the narrowest network and far below the whole one, so that the load matters little.
    [InlineData("l1", "--target-latency 0.15 --global --width 1", "removed ", "1-train 2-fine-tune")]
    [InlineData("l1", "--ratio 0.3 --rounds 2", "fine-tune 1/2: ", "1-train 2-fine-tune-1-2 3-fine-tune-2-2")]
    [InlineData("repr", "--ratio 0.3", "step 4 of 4", "1-train 2-repr 3-fine-tune")]
    [InlineData("enc", "--target-flops 0.7 --set timed=no,search=model", "enc: ranks ", "1-train 2-fine-tune")]
    [InlineData("low-rank", "--target-flops 0.7 --set timed=no,images=32", "step 4 of 4", "1-train 2-fine-tune")]
    [InlineData("qat", "--set bits=4,images=16", "step 4 of 4", "1-train 2-qat 3-fine-tune")]
    [InlineData("quant-noise", "--set images=16", "step 4 of 4", "1-train 2-quant-noise 3-fine-tune")]
    [InlineData("ipq", "--set entries=16,stages=2,noise=0.1", "codes 1 of 2: ",
        "1-train 2-noise 3-codes-1-of-2 4-codes-2-of-2")]
    public void It_ends_bit_for_bit_like_one_that_was_not_stopped(string method, string options, string stopAt, string stages)
    {
        string whole = folder.File("whole.safetensors"), parts = folder.File("parts.safetensors");
        string[] own = [method, .. options.Split(' '), "--threads", "2"];
        string[] run = [.. Arguments(own), "--output", parts, "--output-dir", folder.File("parts")];
        using var cancel = new CancellationTokenSource();
        Assert.Equal(130, Tool.Run(new CancellingWriter(stopAt, cancel), cancel.Token, run).Code);
        Assert.False(File.Exists(parts));

        Outcome resumed = Tool.Run([.. run, "--resume"]).MustSucceed();
        Assert.Contains("1-train has done its 3 steps already", resumed.Out);
        Assert.Equal(stages.Split(' ').Select(s => s + ".state"),
            Directory.GetFiles(folder.File("parts"), "*.state").Select(f => Path.GetFileName(f)).Order(StringComparer.Ordinal));
        // Times are measured anew in a run of its own.
        if (options.Contains("latency", StringComparison.Ordinal)) return;
        Tool.Run([.. Arguments(own), "--output", whole]).MustSucceed();
        Assert.Equal(File.ReadAllBytes(whole), File.ReadAllBytes(parts));
    }

    [Fact]
    public void Another_run_is_not_resumed()
    {
        string[] run = [.. Arguments(["l1", "--ratio", "0.3"]), "--output-dir", folder.Path];
        Tool.Run(run).MustSucceed();
        Assert.Contains("Selection was", Tool.Run([.. Arguments(["l1", "--ratio", "0.4"]), "--output-dir", folder.Path, "--resume"])
            .MustFail(2));
        Assert.Contains("Method was", Tool.Run([.. Arguments(["l2", "--ratio", "0.3"]), "--output-dir", folder.Path, "--resume"])
            .MustFail(2));
        Assert.Contains("--output-dir", Tool.Run([.. Arguments(["l1"]), "--resume"]).MustFail(2));
    }

    private static string[] Arguments(string[] own) =>
        ["compress", .. own, .. own.Contains("--width") ? [.. SmallCnn.Preset[..2], .. SmallCnn.Preset[4..]] : SmallCnn.Preset,
            .. SmallCnn.Data, "--pretrain-steps", "3", .. (CompressionMethods.Get(own[0]).TrainsFirst ? ["--train-steps", "4"] : Array.Empty<string>()),
            "--fine-tune-steps", "4", "--batch-size", "16"];
}
