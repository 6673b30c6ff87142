using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>A file of ONNX and a folder of pictures is all there is: a smaller file of ONNX comes out.</summary>
public sealed class OnnxVerbTests : IDisposable
{
    private static readonly string Networks = Path.Combine(AppContext.BaseDirectory, "Goldens", "Onnx");

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Less_time_without_labels_and_training_from_onnx_to_onnx()
    {
        string any = folder.File("any.onnx"), small = folder.File("small.onnx");
        using (Model model = Model.Create("cifar-vgg11", classes: 10)) model.ExportOnnx(any);
        Outcome done = Tool.Run("compress", "l1", "--model", any, "--target-time", "0.6", "--recover", "--calibration", Pictures(15, 32),
            "--output", small).MustSucceed();
        foreach (string row in new[] { "parameters", "MACs an image", "same answer", "output's cosine", "file", "ms an image" })
            Assert.Contains(row, done.Out);
        Assert.Contains("ms predicted of", done.Out);
        Assert.Contains("recovered without training", done.Out);
        Assert.Contains("3 held-out images without labels", done.Out);
        using Model before = Model.Open(any), after = Model.Open(small);
        Assert.True(after.ParameterCount < before.ParameterCount && new FileInfo(small).Length < new FileInfo(any).Length);
        SameInTheRuntime(after, small);
    }

    /// <summary>Maps need no labels to become cheaper; what would need them says so in one line.</summary>
    [Fact]
    public void Networks_of_maps_too()
    {
        string maps = folder.File("maps.onnx"), small = folder.File("small.onnx"), pictures = Pictures(10, 16);
        WriteMaps(maps);
        Outcome done = Tool.Run("compress", "l1", "--model", maps, "--target-flops", "0.7", "--recover", "--calibration", pictures,
            "--output", small).MustSucceed();
        Assert.Contains("same answer", done.Out);
        using (Model before = Model.Open(maps), after = Model.Open(small))
        {
            Assert.True(after.Graph.CostPerImage.MultiplyAdds <= 0.7 * before.Graph.CostPerImage.MultiplyAdds);
            Assert.Equal(4, after.Graph.Outputs[0].Shape.Rank);
            SameInTheRuntime(after, small);
        }
        Assert.Contains("MACs", Tool.Run("profile", "--model", small).MustSucceed().Out);
        string[] data = ["--data", "fashion-mnist-sample"];
        string picture = Directory.GetFiles(pictures)[0];
        foreach (string[] asked in new string[][] { ["infer", "--model", small, .. data], ["predict", picture, "--model", small],
            ["compress", "l1", "--model", small, "--target-flops", "0.9", .. data] })
            Assert.Contains("maps", Tool.Run(asked).MustFail(2));
    }

    /// <summary>APT's agents grow in a transformer as others export it, and their decisions leave with it.</summary>
    [Theory]
    [InlineData("torchvision")]
    [InlineData("timm")]
    public void An_imported_transformer_takes_agents(string name)
    {
        string run = folder.File("run"), pruned = folder.File("pruned.onnx");
        Tool.Run("train", "--method", "apt", "--init", Path.Combine(Networks, $"{name}.onnx"), "--data", "fashion-mnist-sample",
            "--num-steps", "2", "--train-batch-size", "8", "--eval-limit", "20", "--output-dir", run).MustSucceed();
        string trained = Path.Combine(run, "apt.safetensors");
        Tool.Run("export", "--model", trained, "--onnx", pruned, "--threshold", "0.5").MustSucceed();
        using Model model = Model.Open(trained);
        using var session = model.Session(new SessionOptions { Pruning = Pruning.Threshold(0.5f) });
        Assert.NotEmpty(session.AgentLayers);
        float[] images = Noise(4, model), logits = new float[4 * session.NumClasses];
        var trace = new TokenTrace();
        session.Run(images, 4, logits, trace);
        Dictionary<string, byte[]> found = OnnxRuntime.Run(pruned, images, 1);
        Same(logits, OnnxRuntime.Floats(found["output"]));
        long[] left = OnnxRuntime.Integers(found["tokens"]);
        Assert.Equal(Enumerable.Range(0, 4).SelectMany(i => trace.Counts(i).ToArray()[1..]).Select(n => (long)n), left);
        Assert.Contains(left, n => n < session.Tokens);
    }

    /// <summary>16 x 16 pixels -> a class for each of 16 x 16 places.</summary>
    private static void WriteMaps(string path)
    {
        using var scope = new Scope();
        var rng = new Rng(8);
        (string Name, Tensor Value)[] weights =
        [
            .. new[] { ("first", 8, 3), ("second", 12, 8), ("last", 10, 12) }.Select(l => ($"{l.Item1}.weight",
                Tensor.Parameter(new Shape(l.Item2, l.Item3, 3, 3)))),
        ];
        foreach (var (_, weight) in weights)
            foreach (ref float x in weight.Span) x = rng.NextFloat(-0.2f, 0.3f);
        OnnxFile.Write(path, Graph.Trace(x => weights[1..].Aggregate(Convolved(x, weights[0].Value), (y, w) => Convolved(F.Relu(y), w.Value)),
            new Shape(2, 3, 16, 16), weights));

        static Tensor Convolved(Tensor x, Tensor weight) => F.Conv2d(x, weight, padding: 1);
    }

    private static void SameInTheRuntime(Model model, string file)
    {
        using var scope = new Scope();
        float[] images = Noise(3, model);
        Tensor x = Tensor.From(new Shape(3, model.Channels, model.ImageSize, model.ImageSize), images);
        Same(model.Graph.Run(x).ToArray(), OnnxRuntime.Floats(OnnxRuntime.Run(file, images, 3).Single().Value));
    }

    private static void Same(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        float most = 1e-4f * expected.Max(MathF.Abs);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], most);
    }

    private static float[] Noise(int images, Model model)
    {
        var rng = new Rng(6);
        var values = new float[images * model.Channels * model.ImageSize * model.ImageSize];
        foreach (ref float x in values.AsSpan()) x = rng.NextFloat(-1, 1);
        return values;
    }

    private string Pictures(int count, int size)
    {
        var rng = new Rng(3);
        Directory.CreateDirectory(folder.File("pictures"));
        for (int i = 0; i < count; i++)
        {
            byte[] pixels = new byte[size * size * 3];
            foreach (ref byte pixel in pixels.AsSpan()) pixel = (byte)rng.NextInt(256);
            PngWriter.Write(folder.File($"pictures/{i}.png"), new Image(size, size, 3, pixels));
        }
        return folder.File("pictures");
    }
}
