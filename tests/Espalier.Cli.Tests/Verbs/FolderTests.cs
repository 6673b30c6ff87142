using System.Text.Json;
using Espalier.Imaging;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>Image folders as users have them, through the verbs.</summary>
public sealed class FolderTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private string Picture(string path, byte value)
    {
        string file = folder.File(path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        var image = new Image(28, 28, 1);
        for (int i = 0; i < image.Pixels.Length; i++) image.Pixels[i] = (byte)(value + 3 * (i % 28));
        PngWriter.Write(file, image);
        return file;
    }

    private string Cut(string path)
    {
        string file = Picture(path, 9);
        File.WriteAllBytes(file, File.ReadAllBytes(file)[..50]);
        return file;
    }

    /// <summary>A model of the classes a to d, trained on a folder that is found by --data-dir alone.</summary>
    private string Model()
    {
        foreach (char c in "abcd")
        {
            for (byte i = 0; i < 3; i++) Picture($"sub/train/{c}/{i}.png", (byte)(50 * (c - 'a') + i));
            if (c is 'b' or 'd') for (byte i = 0; i < 2; i++) Picture($"sub/val/{c}/{i}.png", (byte)(50 * (c - 'a') + 5 * i));
        }
        Outcome trained = Tool.Run("train", "--data-dir", folder.File("sub"), "--model-type", "vit-tiny-28", "--method", "none",
            "--num-steps", "2", "--train-batch-size", "4", "--eval-every", "0", "--output-dir", folder.Path).MustSucceed();
        Assert.Contains("12 training images, 4 for testing", trained.Out);
        return folder.File("vit.safetensors");
    }

    private (int Label, int Prediction)[] Infer(string model, string data, out Outcome outcome, params string[] more)
    {
        outcome = Tool.Run(["infer", "--model", model, "--data", data, "--output", folder.File("p.jsonl"), .. more]);
        Assert.Equal(0, outcome.Code);
        return [.. File.ReadLines(folder.File("p.jsonl")).Select(line => JsonDocument.Parse(line).RootElement)
            .Select(e => (e.GetProperty("label").GetInt32(), e.GetProperty("prediction").GetInt32()))];
    }

    [Fact]
    public void Labels_are_the_models_whatever_classes_a_folder_has()
    {
        string model = Model();
        var whole = Infer(model, folder.File("sub"), out _);
        Assert.Equal([1, 1, 3, 3], whole.Select(r => r.Label));

        foreach (string file in Directory.GetFiles(folder.File("sub/val"), "*.png", SearchOption.AllDirectories))
        {
            string copy = file.Replace("sub", "only", StringComparison.Ordinal);
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }
        Assert.Equal(whole, Infer(model, folder.File("only"), out Outcome outcome));
        Assert.Contains("no images   of a, c", outcome.Out);

        Picture("only/val/frog/1.png", 1);
        Assert.Contains("folder: frog is no class of",
            Tool.Run("infer", "--model", model, "--data", folder.File("only")).MustFail(2));
    }

    [Fact]
    public void A_bad_picture_is_left_out_and_named_or_stops_the_work()
    {
        string model = Model(), bad = Cut("sub/val/b/9.png");
        Assert.Equal([1, 1, 3, 3], Infer(model, folder.File("sub"), out Outcome outcome).Select(r => r.Label));
        Assert.Equal($"not used, of these 1 that should be images:\n  {bad}: the PNG file is truncated; get a whole copy.\n",
            outcome.Error);

        outcome = Tool.Run("infer", "--model", model, "--data", folder.File("sub"), "--strict");
        Assert.Equal(2, outcome.Code);
        Assert.Contains($"espalier: {bad}: the PNG file is truncated", outcome.Error);
    }

    [Fact]
    public void Predict_takes_folders_and_goes_on_after_a_bad_picture()
    {
        string model = Model(), bad = Cut("photos/1.png");
        Picture("photos/0.png", 1);
        Picture("photos/sub/2.png", 1);
        Picture("photos/.hidden.png", 1);
        Outcome outcome = Tool.Run("predict", folder.File("photos"), "--model", model, "--no-picture", "--top", "1");
        Assert.Equal((2, $"espalier: {bad}: the PNG file is truncated; get a whole copy.\n"), (outcome.Code, outcome.Error));
        Assert.Equal(["0.png", "2.png"], outcome.Out.Split('\n').Where(l => l.EndsWith(".png", StringComparison.Ordinal))
            .Select(l => Path.GetFileName(l)));
        outcome = Tool.Run("predict", folder.File("photos"), "--model", model, "--json", "--top", "2");
        JsonElement[] lines = [.. outcome.Out.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.Equal(["0.png", "2.png"], lines.Select(l => Path.GetFileName(l.GetProperty("file").GetString())));
        Assert.All(lines, l => Assert.Equal(2, l.GetProperty("classes").GetArrayLength()));
        Assert.All(lines, l => Assert.True(l.GetProperty("classes")[0].GetProperty("probability").GetDouble()
            >= l.GetProperty("classes")[1].GetProperty("probability").GetDouble()));
        Assert.Contains(bad, Tool.Run("predict", folder.File("photos"), "--model", model, "--strict").MustFail(2));
        Directory.CreateDirectory(folder.File("empty"));
        Assert.Contains("no images", Tool.Run("predict", folder.File("empty"), "--model", model).MustFail(2));
    }

    [Fact]
    public void Check_names_all_bad_pictures_at_once()
    {
        for (byte i = 0; i < 6; i++) Picture($"cats/{i}.png", i);
        string[] bad = [Cut("cats/7.png"), Cut("cats/8.png"), folder.File("cats/9.jpg"), folder.File("cats/9.tif")];
        File.WriteAllText(bad[2], "<html>not found</html>");
        File.WriteAllText(bad[3], "II*");
        Outcome outcome = Tool.Run("data", "check", folder.Path);
        Assert.Equal(2, outcome.Code);
        Assert.Contains("folder: 6 training and 0 test images, 1 classes", outcome.Out);
        Assert.Contains("not used, of these 4 that should be images:", outcome.Out);
        foreach (string file in bad) Assert.Contains($"  {file}: ", outcome.Out);
        Assert.Contains("a web page and not an image", outcome.Out);
    }
}
