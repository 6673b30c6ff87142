using System.Text.Json;
using Espalier.Data;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>--preprocess, and what is used without it.</summary>
public sealed class PreprocessTests : IDisposable
{
    private const string Published = "shufflenet_v2_x1_0";
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Published_weights_get_their_own_and_the_user_has_the_last_word()
    {
        string model = WritePublished(), data = WriteFolder(), output = folder.File("out.jsonl");
        string[] infer = ["infer", "--model", model, "--model-type", Published, "--data", "folder", "--data-dir", data, "--output", output];
        Assert.Contains("images      shorter side 256, bilinear, centre 224 x 224, mean 0.485 0.456 0.406, "
            + $"deviation 0.229 0.224 0.225 (usual for {Published})", Tool.Run(infer).MustSucceed().Out);
        AssertLogits(output, model, data, Preprocessing.Preset("imagenet", 224));
        Assert.Contains("(--preprocess clip)", Tool.Run([.. infer, "--preprocess", "clip"]).MustSucceed().Out);
        AssertLogits(output, model, data, Preprocessing.Preset("clip", 224));

        Preprocessing own = Preprocessing.Preset("imagenet", 224) with { Resize = 232, Colors = ColorOrder.Bgr };
        File.WriteAllText(folder.File("own.json"), own.ToJson());
        Assert.Contains("shorter side 232, bilinear, centre 224 x 224, BGR,",
            Tool.Run([.. infer, "--preprocess", folder.File("own.json")]).MustSucceed().Out);
        AssertLogits(output, model, data, own);

        string image = Directory.GetFiles(data, "*.png", SearchOption.AllDirectories)[0];
        string[] predicted = Tool.Run("predict", image, "--model", model, "--model-type", Published).MustSucceed().Out.Split('\n');
        Assert.Single(predicted, l => l.StartsWith("images  ", StringComparison.Ordinal) && l.Contains(Published, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("infer --data fashion-mnist-sample --preprocess imagent", "imagent: is neither one of imagenet, deit, half, clip nor a file")]
    [InlineData("infer --data fashion-mnist-sample --preprocess FILE", "std has 0")]
    [InlineData("export --onnx out.onnx --preprocess FILE", "std has 0")]
    [InlineData("bench --preprocess FILE", "std has 0")]
    [InlineData("compress l1 --data fashion-mnist-sample --preprocess FILE", "std has 0")]
    [InlineData("compress sensitivity --data fashion-mnist-sample --preprocess FILE", "std has 0")]
    [InlineData("train --data fashion-mnist-sample --num-steps 1 --preprocess FILE", "std has 0")]
    [InlineData("infer --data fashion-mnist-sample --preprocess OTHER", "gives 1 x 20 x 20, but the network takes 1 x 16 x 16")]
    public void What_is_wrong_is_said_in_a_line(string arguments, string expected)
    {
        string model = SmallCnn.Write(folder.File("net.safetensors"));
        File.WriteAllText(folder.File("FILE"), Preprocessing.Half(16, 1).ToJson().Replace("\"std\":[0.5]", "\"std\":[0]", StringComparison.Ordinal));
        File.WriteAllText(folder.File("OTHER"), Preprocessing.Half(20, 1).ToJson());
        string[] words = [.. arguments.Split(' ').Select(w => w is "FILE" or "OTHER" or "out.onnx" ? folder.File(w) : w)];
        Assert.Contains(expected, Tool.Run([.. words, words[0] == "train" ? "--init" : "--model", model]).MustFail(2));
        Assert.False(File.Exists(folder.File("out.onnx")));
    }

    [Fact]
    public void Training_writes_it_into_the_checkpoint_and_goes_on_with_the_same_only()
    {
        string[] train = ["train", "--data", "fashion-mnist-sample", "--method", "none", "--model-type", "vit-tiny-28", "--eval-limit", "8",
            "--name", "plain", "--output-dir", folder.Path];
        string output = Tool.Run([.. train, "--num-steps", "1", "--preprocess", "imagenet"]).MustSucceed().Out;
        Assert.Contains("images      shorter side 32, bilinear, centre 28 x 28, mean 0.449, deviation 0.226 (--preprocess imagenet)", output);
        string model = folder.File("plain.safetensors");
        Preprocessing written = Card(model);
        Assert.Equal(Preprocessing.Preset("imagenet", 28, 1), written);
        Assert.Contains("(as the checkpoint says)", Tool.Run("infer", "--model", model, "--limit", "8").MustSucceed().Out);

        Assert.Contains("ResizeAndCrop 32 28", Tool.Run([.. train, "--num-steps", "1", "--resume", "--preprocess", "half"]).MustFail(2));
        // What is not said is as in the run that goes on.
        Tool.Run([.. train, "--num-steps", "1", "--resume"]).MustSucceed();
        Assert.Equal(written, Card(model));

        // What starts from it keeps it, unless told otherwise.
        Tool.Run("train", "--data", "fashion-mnist-sample", "--init", model, "--num-steps", "1", "--eval-limit", "8", "--name", "more",
            "--output-dir", folder.Path).MustSucceed();
        Assert.Equal(written, Card(folder.File("more.safetensors")));
    }

    [Fact]
    public void Smaller_networks_and_files_for_other_runtimes_keep_it()
    {
        string model = SmallCnn.Write(folder.File("net.safetensors")), small = folder.File("small.safetensors"), onnx = folder.File("net.onnx");
        Assert.Contains("--preprocess clip", Tool.Run("compress", "l1", "--model", model, "--target-flops", "0.6", "--output", small,
            "--preprocess", "clip").MustSucceed().Out);
        Preprocessing clip = Preprocessing.Preset("clip", 16, 1);
        Assert.Equal(clip, Card(small));
        Tool.Run("export", "--onnx", onnx, "--model", small).MustSucceed();
        Assert.Contains(FormattableString.Invariant($"[{clip.Mean[0]}]"), File.ReadAllText(onnx));
        Tool.Run("export", "--onnx", onnx, "--model", small, "--preprocess", "half").MustSucceed();
        Assert.DoesNotContain(FormattableString.Invariant($"[{clip.Mean[0]}]"), File.ReadAllText(onnx));
    }

    private static Preprocessing Card(string path)
    {
        using Model model = Model.Open(path);
        return model.Card.Preprocessing!;
    }

    /// <summary>A state dict without a structure block: here a narrow network's, which a file may have.</summary>
    private string WritePublished()
    {
        string path = folder.File("published.pth");
        using Cnn net = CnnPresets.Create(CnnPresets.Get(Published) with { Width = 0.1 });
        Safetensors.Write(path, net.StateDict().Select(p => new NamedArray(p.Name, p.Value.Shape.ToArray(), p.Value.ToArray())), null);
        return path;
    }

    /// <summary>Two classes, pictures lying and standing.</summary>
    private string WriteFolder()
    {
        string data = folder.File("data");
        foreach (string split in new[] { "train", "val" })
            for (int c = 0; c < 2; c++)
            {
                var image = new Image(c == 0 ? 400 : 300, c == 0 ? 300 : 401, 3);
                for (int i = 0; i < image.Pixels.Length; i++) image.Pixels[i] = (byte)(i / 3 % image.Width + i % 3 * 60 + i / 7000);
                Directory.CreateDirectory(Path.Combine(data, split, $"class{c}"));
                PngWriter.Write(Path.Combine(data, split, $"class{c}", "picture.png"), image);
            }
        return data;
    }

    private static void AssertLogits(string output, string model, string data, Preprocessing p)
    {
        JsonElement[] lines = [.. File.ReadLines(output).Select(l => JsonDocument.Parse(l).RootElement)];
        IImageDataset test = Datasets.Open("folder", data).Test;
        Assert.Equal(test.Count, lines.Length);
        using Model loaded = Model.Open(model, new OpenOptions { Architecture = Published });
        using var scope = new Scope();
        for (int i = 0; i < lines.Length; i++)
        {
            var pixels = new Tensor(new Shape(1, 3, 224, 224));
            var rng = new Rng(0);
            ImagePipeline.Eval(p).Run(test.ReadImage(i), ref rng, pixels.Span);
            float[] logits = [.. lines[i].GetProperty("logits").EnumerateArray().Select(x => x.GetSingle())];
            Golden.AssertClose(loaded.Graph.Run(pixels).ToArray(), logits, $"image {i}");
        }
    }
}
