using Espalier.Models;

namespace Espalier.Cli.Tests.Verbs;

public sealed class CompressTeacherTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Training_has_a_teacher_and_a_recipe()
    {
        string teacher = folder.File("teacher.safetensors"), taught = folder.File("taught.safetensors"),
            alone = folder.File("alone.safetensors"), self = folder.File("self.safetensors");
        Compress("--width", "0.2", "--pretrain-steps", "2", "--output", teacher);
        string[] student = ["--width", "0.1", "--pretrain-steps", "2", "--fine-tune-steps", "2"];
        Compress([.. student, "--output", alone]);
        Compress([.. student, "--output", taught, "--teacher", teacher, "--distillation", "deit-soft", "--temperature", "2",
            "--distillation-weight", "0.7", "--label-smoothing", "0.1", "--mixup", "0.8", "--cutmix", "1", "--optimizer", "ranger",
            "--decay-type", "flat-cosine", "--warmup-steps", "1"]);
        Compress([.. student, "--output", self, "--teacher", "self"]);
        float[] a = Weights(alone), b = Weights(taught), c = Weights(self);
        Assert.Equal(a.Length, b.Length);
        Assert.NotEqual(a, b);
        Assert.NotEqual(a, c);
    }

    [Fact]
    public void A_vision_transformer_teaches_a_convolutional_network()
    {
        string run = folder.File("run");
        Tool.Run("train", "--data", "fashion-mnist-sample", "--method", "none", "--model-type", "vit-tiny-28", "--num-steps", "1",
            "--train-batch-size", "8", "--output-dir", run).MustSucceed();
        Compress("--width", "0.1", "--fine-tune-steps", "2", "--teacher", Path.Combine(run, "vit.safetensors"), "--distillation",
            "deit-hard");
    }

    [Fact]
    public void A_teacher_that_cannot_teach_is_one_line()
    {
        string[] start = ["compress", "l1", "--model-type", "cifar-vgg11", "--width", "0.1", "--img-size", "16", "--data",
            "fashion-mnist-sample"];
        Assert.Contains("--teacher", Tool.Run([.. start, "--temperature", "2"]).MustFail(2));
        Tool.Run([.. start, "--teacher", folder.File("none.safetensors")]).MustFail(2);
        string other = folder.File("other.safetensors");
        var config = new CnnConfig("cifar-vgg11") { ImageSize = 16, Channels = 1, NumClasses = 7, Width = 0.1 };
        using (Model net = Model.FromModule(CnnPresets.Create(config))) net.Save(other);
        Assert.Contains("7 classes", Tool.Run([.. start, "--teacher", other]).MustFail(2));
    }

    private static void Compress(params string[] more) => Tool.Run(["compress", "l1", "--model-type", "cifar-vgg11", "--img-size", "16",
        "--data", "fashion-mnist-sample", "--batch-size", "16", "--target-flops", "0.6", .. more]).MustSucceed();

    private static float[] Weights(string path)
    {
        using Model model = Model.Open(path);
        return [.. model.Graph.Parameters.SelectMany(p => p.Value.ToArray())];
    }
}
