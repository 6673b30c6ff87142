namespace Espalier.Cli.Tests.Verbs;

public sealed class ExportVerbTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    private string Onnx => folder.File("model.onnx");

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_checkpoint_with_agents_is_written_pruned()
    {
        string output = Tool.Run(Export("--threshold", "0.25")).MustSucceed().Out;
        Assert.Contains($"wrote {Onnx}, ", output);
        Assert.Contains("pruned, threshold 0.25", output);
        Assert.Contains("inputs   images [1, 1, 28, 28]", output);
        Assert.Contains("outputs  logits [1, 10], tokens [2], kept [K]", output);
        Assert.Contains("opset    17", output);
        Assert.True(File.Exists(Onnx));
    }

    [Fact]
    public void Folders_are_made_and_the_input_is_not_written_over()
    {
        string deep = folder.File("new/folder/model.onnx");
        Tool.Run("export", "--onnx", deep, "--model", Golden.Checkpoint, "--config", Golden.Config).MustSucceed();
        byte[] before = File.ReadAllBytes(deep);
        Assert.Contains("--onnx " + deep + ": is the file that is read", Tool.Run("export", "--onnx", deep, "--model", deep).MustFail(2));
        string link = folder.File("link.onnx");
        File.CreateSymbolicLink(link, deep);
        Assert.Contains("is the file that is read", Tool.Run("export", "--onnx", link, "--model", deep).MustFail(2));
        Assert.Equal(before, File.ReadAllBytes(deep));
    }

    [Fact]
    public void Or_dense()
    {
        string output = Tool.Run(Export("--dense", "--opset", "23")).MustSucceed().Out;
        Assert.Contains("opset    23", output);
        Assert.Contains("every token kept", output);
        Assert.Contains("inputs   images [N, 1, 28, 28]", output);
        Assert.Contains("outputs  logits [N, 10]", output);
    }

    [Fact]
    public void In_8_bits_it_is_smaller()
    {
        Tool.Run(Export("--dense")).MustSucceed();
        long before = new FileInfo(Onnx).Length;
        Assert.Contains("every token kept, int8", Tool.Run(Export("--dense", "--precision", "int8")).MustSucceed().Out);
        Assert.True(new FileInfo(Onnx).Length < 0.6 * before);
        Assert.Contains("one of fp32, int8", Tool.Run(Export("--precision", "int4")).MustFail(2));
    }

    [Fact]
    public void A_plain_model_is_written_dense_and_has_no_threshold()
    {
        Tool.Run("train", "--data", "fashion-mnist-sample", "--method", "none", "--model-type", "vit-tiny-28", "--num-steps", "1",
            "--eval-limit", "8", "--name", "plain", "--output-dir", folder.Path).MustSucceed();
        string[] export = ["export", "--onnx", Onnx, "--model", folder.File("plain.safetensors")];
        Assert.Contains("every token kept", Tool.Run(export).MustSucceed().Out);
        File.Delete(Onnx);
        Assert.Contains("has no agents", Tool.Run([.. export, "--threshold", "0.5"]).MustFail(2));
        Assert.False(File.Exists(Onnx));
    }

    [Fact]
    public void What_is_no_vision_transformer_is_refused()
    {
        File.WriteAllText(folder.File("text"), "hello");
        Assert.Contains("not a checkpoint", Tool.Run("export", "--onnx", Onnx, "--model", folder.File("text")).MustFail(2));
        Assert.Contains("other.json", Other());
        Assert.False(File.Exists(Onnx));

        string Other()
        {
            File.WriteAllText(folder.File("other.json"), """{"layers":3}""");
            return Tool.Run("export", "--onnx", Onnx, "--model", Golden.Checkpoint, "--config", folder.File("other.json"))
                .MustFail(2);
        }
    }

    [Fact]
    public void A_folder_that_cannot_be_made_is_named()
    {
        File.WriteAllText(folder.File("none"), "a file");
        string below = Path.Combine(folder.Path, "none", "model.onnx");
        Assert.Contains($"{folder.File("none")}: the folder cannot be made", Tool.Run("export", "--onnx", below, "--model", Golden.Checkpoint, "--config", Golden.Config)
            .MustFail(2));
    }

    [Fact]
    public void A_convolutional_network_is_written_whole_or_pruned()
    {
        string small = folder.File("small.safetensors");
        Tool.Run("compress", "l1", "--model-type", "cifar-vgg11", "--width", "0.125", "--img-size", "16", "--data",
            "fashion-mnist-sample", "--target-flops", "0.5", "--output", small).MustSucceed();
        string output = Tool.Run("export", "--onnx", Onnx, "--model", small).MustSucceed().Out;
        Assert.Contains($"wrote {Onnx}, ", output);
        Assert.Contains("cifar-vgg11 of ", output);
        Assert.DoesNotContain("random", output);
        Assert.Contains("inputs   images [N, 1, 16, 16]", output);
        Assert.Contains("outputs  logits [N, 10]", output);
        long pruned = new FileInfo(Onnx).Length;
        Assert.Contains("random weights",
            Tool.Run("export", "--onnx", Onnx, "--model-type", "resnet20", "--opset", "23").MustSucceed().Out);
        Assert.True(pruned < new FileInfo(Onnx).Length);
    }

    [Theory]
    [InlineData("--dense")]
    [InlineData("--threshold", "0.5")]
    [InlineData("--precision", "int8")]
    public void What_only_transformers_have_is_refused_for_a_convolutional_network(params string[] option)
    {
        Assert.Contains($"leave {string.Join(' ', option).Replace(" 0.5", "")} out",
            Tool.Run(["export", "--onnx", Onnx, "--model-type", "resnet20", .. option]).MustFail(2));
        Assert.False(File.Exists(Onnx));
    }

    private string[] Export(params string[] more) =>
        ["export", "--onnx", Onnx, "--model", Golden.Checkpoint, "--config", Golden.Config, .. more];
}
