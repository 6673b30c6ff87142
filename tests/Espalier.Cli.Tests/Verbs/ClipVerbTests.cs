using System.Text.Json;
using Espalier.Formats;
using Espalier.Inference;
using Espalier.Tests.Clip;
using Espalier.Tests.Formats.Onnx;

namespace Espalier.Cli.Tests.Verbs;

public sealed class ClipVerbTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    private string Checkpoint => folder.File("clip.safetensors");

    private string Vocabulary => folder.File("vocabulary.txt");

    public ClipVerbTests()
    {
        ClipGolden.Write(Checkpoint, ClipGolden.Whole());
        File.WriteAllLines(Vocabulary, ClipGolden.Merges());
    }

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ModelsAreListed()
    {
        string text = Tool.Run("clip", "models").MustSucceed().Out;
        foreach (string name in new[] { "RN50", "RN50x64", "ViT-B/32", "ViT-L/14@336px" }) Assert.Contains(name, text);
    }

    [Fact]
    public void TextsBecomeIds()
    {
        string vocabulary = folder.File("large.txt");
        File.WriteAllLines(vocabulary, Large());
        Outcome outcome = Tool.Run("clip", "tokenize", "--vocab", vocabulary, "--text", "A  b!", "caf\u00e9 \u4f60", "",
            "--json");
        string[] lines = outcome.MustSucceed().Out.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("""{"text":"A  b!","ids":[320,321,256]}""", lines[0]);
        Assert.StartsWith("""{"text":"caf""" + "\u00e9 \u4f60", lines[1]);
        Assert.Equal("""{"text":"","ids":[]}""", lines[2]);
        Assert.Equal("320 321 256\n", Tool.Run("clip", "tokenize", "--vocab", vocabulary, "--text", "a b !").MustSucceed().Out);
        Assert.Contains("cut short", Tool.Run("clip", "tokenize", "--vocab", Vocabulary, "--text", "a").MustFail(2));
        Assert.Contains("--text", Tool.Run("clip", "tokenize", "--vocab", vocabulary).MustFail(2));
    }

    [Fact]
    public void ImagesAreComparedWithSentencesAndClasses()
    {
        string[] images = [Picture("sneaker.png"), Picture("bag.png")];
        string text = Tool.Run(["clip", "classify", .. images, "--model", Checkpoint, "--vocab", Vocabulary, "--text", "a cat",
            "a dog", "--json"])
            .MustSucceed().Out;
        JsonElement[] lines = [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l =>
            JsonDocument.Parse(l).RootElement)];
        Assert.Equal(images, lines.Select(l => l.GetProperty("image").GetString()));
        float[] shares = [.. lines[1].GetProperty("probabilities").EnumerateArray().Select(p => p.GetSingle())];
        float[] logits = [.. lines[1].GetProperty("logits").EnumerateArray().Select(p => p.GetSingle())];
        Assert.Equal(1, shares.Sum(), 1e-5f);
        Assert.Equal(logits[0] - logits[1], MathF.Log(shares[0] / shares[1]), 1e-4f);
        Assert.Equal(["a cat", "a dog"], lines[0].GetProperty("labels").EnumerateArray().Select(l => l.GetString()));
        string saved = folder.File("labels.safetensors");
        Outcome table = Tool.Run("clip", "classify", images[0], "--model", Checkpoint, "--vocab", Vocabulary, "--class", "cat",
            "dog",
            "--template", "a {}", "{} on", "--save", saved);
        Assert.Contains("%  cat", table.MustSucceed().Out);
        Assert.Contains("%  cat", Tool.Run("predict", images[0], "--model", saved, "--no-picture").MustSucceed().Out);
        Assert.Contains("one of both", Tool.Run("clip", "classify", images[0], "--model", Checkpoint, "--text", "a", "--class",
            "b").MustFail(2));
        Assert.Contains("{}", Tool.Run("clip", "classify", images[0], "--model", Checkpoint, "--vocab", Vocabulary, "--class",
            "b",
            "--template", "photo").MustFail(2));
    }

    [Fact]
    public void DamagedFilesAreOneLine()
    {
        byte[] good = File.ReadAllBytes(Checkpoint);
        string[] call = ["clip", "classify", Picture("bag.png"), "--model", Checkpoint, "--vocab", Vocabulary, "--text", "a cat"];
        File.WriteAllBytes(Checkpoint, good[..(good.Length / 2)]);
        string damaged = Tool.Run(call).MustFail(2);
        Assert.Contains(Checkpoint, damaged);
        Assert.Contains("the file is cut short or damaged", damaged);
        File.WriteAllBytes(Checkpoint, good);
        File.WriteAllText(Vocabulary, "#version\na\n");
        Assert.Contains($"{Vocabulary}: has 1 merges, and 86 are needed", Tool.Run(call).MustFail(2));
        Assert.Contains("models are RN50", Tool.Run("clip", "classify", Picture("bag.png"), "--model", "ViT-X", "--text",
            "a").MustFail(2));
    }

    [Fact]
    public void AFolderIsSearchedByItsIndex()
    {
        string pictures = folder.File("pictures");
        Directory.CreateDirectory(pictures);
        foreach (string name in new[] { "sneaker.png", "bag.png", "dress.png" }) File.Copy(Picture(name), Path.Combine(pictures,
            name));
        string[] call = ["clip", "search", pictures, "--model", Checkpoint, "--vocab", Vocabulary];
        JsonElement like = JsonDocument.Parse(Tool.Run([.. call, "--image", Picture("bag.png"), "--top", "2",
            "--json"]).MustSucceed().Out).RootElement;
        Assert.Equal(2, like.GetProperty("images").GetArrayLength());
        Assert.Equal(2, like.GetProperty("scores").GetArrayLength());
        string index = Path.Combine(pictures, ".espalier-clip.safetensors");
        Assert.True(File.Exists(index));
        Assert.Contains("dress.png", Tool.Run([.. call, "--text", "a cat", "--no-update"]).MustSucceed().Out);
        ClipGolden.Write(folder.File("other.safetensors"), ClipGolden.Whole().Select(a => a.Name != "visual.proj" ? a
            : new NamedArray(a.Name, a.Shape, [.. a.Data.Reverse()])));
        Assert.Contains("another model", Tool.Run("clip", "search", pictures, "--model", folder.File("other.safetensors"),
            "--vocab",
            Vocabulary, "--text", "a cat", "--no-update").MustFail(2));
        byte[] bytes = File.ReadAllBytes(index);
        File.WriteAllBytes(index, bytes[..^5]);
        Assert.Contains(index, Tool.Run([.. call, "--text", "a cat"]).MustFail(2));
    }

    [Fact]
    public void FeaturesAreWritten()
    {
        string npy = folder.File("f.npy"), lines = folder.File("f.jsonl");
        Tool.Run("embed", Picture("bag.png"), Picture("dress.png"), "--model", Checkpoint, "--output", npy,
            "--normalize").MustSucceed();
        byte[] bytes = File.ReadAllBytes(npy);
        Assert.Equal(0, (bytes.Length - 2 * 24 * 4) % 64);
        Assert.Contains("(2, 24,)", System.Text.Encoding.Latin1.GetString(bytes, 0, 128));
        Tool.Run("embed", "--model", Checkpoint, "--vocab", Vocabulary, "--text", "a cat", "a dog", "--output",
            lines).MustSucceed();
        JsonElement[] all = [.. File.ReadAllLines(lines).Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.Equal(["a cat", "a dog"], all.Select(l => l.GetProperty("input").GetString()));
        Assert.Equal(24, all[0].GetProperty("embedding").GetArrayLength());
        string own = Tool.Run("embed", Picture("bag.png"), "--model", Shipped()).MustSucceed().Out;
        Assert.Contains("\"embedding\":[", own);
        Assert.Contains("give images, or texts with --text", Tool.Run("embed", "--model", Checkpoint).MustFail(2));
    }

    [Fact]
    public void TowersAreCompressedAndUsedAgain()
    {
        string towers = folder.File("towers"), image = Path.Combine(towers, "image.safetensors");
        Tool.Run("clip", "towers", "--model", Checkpoint, "--output-dir", towers).MustSucceed();
        string before = Tool.Run("clip", "classify", Picture("bag.png"), "--model", towers, "--vocab", Vocabulary, "--text",
            "a cat", "a dog").MustSucceed().Out;
        string merged = folder.File("merged.safetensors");
        Tool.Run("compress", "tome", "--model", image, "--data", "fashion-mnist-sample", "--output",
            merged, "--set", "merge=2").MustSucceed();
        File.Move(merged, image, overwrite: true);
        string after = Tool.Run("clip", "classify", Picture("bag.png"), "--model", towers, "--vocab", Vocabulary, "--text",
            "a cat", "a dog").MustSucceed().Out;
        Assert.NotEqual("", before);
        Assert.Contains("%  a dog", after);
        Tool.Run("export", "--model", image, "--onnx", folder.File("image.onnx")).MustSucceed();
    }

    /// <summary>What every tower takes: agents, merged tokens, fewer columns, integers. It stays a tower, and a file of ONNX.</summary>
    [Theory]
    [InlineData("compress", "apt")]
    [InlineData("compress", "tome", "--set", "merge=7")]
    [InlineData("compress", "l1", "--ratio", "0.1")]
    [InlineData("compress", "nvit", "--target-flops", "0.95", "--set", "eta=0")]
    [InlineData("quantize")]
    public void TheImageTowerTakesMethods(params string[] what)
    {
        string towers = folder.File("towers"), image = Path.Combine(towers, "image.safetensors"), less = folder.File("less.safetensors");
        Tool.Run("clip", "towers", "--model", Checkpoint, "--output-dir", towers).MustSucceed();
        float[] before = Embedded(towers);
        string text = Tool.Run([.. what, "--model", image, "--data", "fashion-mnist-sample", "--output", less, .. what[0] == "compress"
            ? [what[1] is "tome" or "l1" ? "--fine-tune-steps" : "--train-steps", "1", "--batch-size", "4"] : (string[])["--calibration-images", "8", "--limit", "8"]])
            .MustSucceed().Out;
        if (what[^1] == "0.1") Assert.Contains("masked", text);
        File.Move(less, image, overwrite: true);
        float[] after = Embedded(towers);
        Assert.InRange(before.Zip(after, (a, b) => a * b).Sum(), 0.5f, 1.0001f);
        Assert.True(before.Zip(after, (a, b) => Math.Abs(a - b)).Max() > 1e-6f);
        string onnx = folder.File("image.onnx");
        Tool.Run("export", "--model", image, "--onnx", onnx).MustSucceed();
        float[] images = ClipGolden.Images(32).ToArray(), expected = new float[2 * 24];
        using (Session session = Session.Open(image)) session.Run(images, 2, expected);
        float[] actual = [.. images.Chunk(images.Length / 2).SelectMany(x => OnnxRuntime.Floats(OnnxRuntime.Run(onnx, x, 1)["logits"]))];
        float most = (what[0] == "quantize" ? 0.05f : 1e-4f) * expected.Max(MathF.Abs);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], most);
    }

    [Fact]
    public void TheTextTowerIsExportedWithItsMask()
    {
        string towers = folder.File("towers"), onnx = folder.File("text.onnx");
        Tool.Run("clip", "towers", "--model", Checkpoint, "--output-dir", towers).MustSucceed();
        string text = Tool.Run("export", "--model", Path.Combine(towers, "text.safetensors"), "--onnx", onnx).MustSucceed().Out;
        Assert.Contains("ids", text);
        long[] ids = [.. ClipGolden.Ids().Select(i => (long)i)];
        float[] expected = ClipGolden.Numbers("textFeatures"), actual = OnnxRuntime.Run(onnx, "ids", [3, 12], ids);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-4f);
        // The first text ends with its fourth token: what follows is nothing.
        ids[6] = 5;
        Assert.Equal(actual, OnnxRuntime.Run(onnx, "ids", [3, 12], ids));
    }

    [Fact]
    public void PhotosAreTurnedUpright()
    {
        string photos = Path.Combine(AppContext.BaseDirectory, "Goldens", "Images");
        string[] vectors = [.. new[] { "exif6.png", "read-exif6-png.png" }.Select(name => Tool.Run("embed", Path.Combine(photos, name), "--model",
            Checkpoint).MustSucceed().Out)];
        Assert.Equal(vectors[1][vectors[1].IndexOf("\"embedding\"", StringComparison.Ordinal)..], vectors[0][vectors[0].IndexOf("\"embedding\"",
            StringComparison.Ordinal)..]);
    }

    private float[] Embedded(string model)
    {
        string line = Tool.Run("embed", Picture("bag.png"), "--model", model, "--normalize").MustSucceed().Out;
        return [.. JsonDocument.Parse(line).RootElement.GetProperty("embedding").EnumerateArray().Select(x => x.GetSingle())];
    }

    [Fact]
    public void ALinearProbeLearnsADataSet()
    {
        string saved = folder.File("probe.safetensors");
        string text = Tool.Run("clip", "probe", "--model", Checkpoint, "--data", "fashion-mnist-sample", "--limit", "100", "--c",
            "1", "--output", saved)
            .MustSucceed().Out;
        Assert.Matches(@"test\s+\d+(\.\d+)? ?% of 100 images", text);
        Assert.Contains("accuracy", Tool.Run("infer", "--model", saved, "--data", "fashion-mnist-sample", "--limit",
            "20").MustSucceed().Out);
        Assert.Contains("  C 1 ", Tool.Run("clip", "probe", "--model", Checkpoint, "--data", "fashion-mnist-sample", "--limit",
            "40").MustSucceed().Out);
    }

    private static string Picture(string name) => Path.Combine(Root(), "examples", "images", name);

    private static string Shipped() => Path.Combine(Root(), "models", "apt-fashion-mnist.safetensors");

    private static string Root()
    {
        DirectoryInfo? at = new(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(at!.FullName, "Espalier.slnx"))) at = at.Parent;
        return at.FullName;
    }

    /// <summary>As many merges as the published vocabulary has.</summary>
    private static IEnumerable<string> Large()
    {
        yield return "#version";
        // Pairs of two bytes' symbols, none of which is among the letters of the texts here.
        string[] symbols = [.. Enumerable.Range(256, 68).Select(c => ((char)c).ToString()), .. Enumerable.Range(174,
            82).Select(c => ((char)c).ToString()),
            .. "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ".Select(c => c.ToString())];
        int count = 0;
        foreach (string end in new[] { "", "</w>" })
            foreach (string left in symbols)
                foreach (string right in symbols)
                    if (count++ < 48_894) yield return $"{left} {right}{end}";
    }
}
