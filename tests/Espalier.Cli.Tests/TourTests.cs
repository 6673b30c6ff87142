using System.Text.RegularExpressions;
using Espalier.Formats;
using Espalier.Imaging;

namespace Espalier.Cli.Tests;

/// <summary>The commands of docs/tour.md, one after another, on small pictures: each does its work, and says what the page shows.
/// </summary>
public sealed partial class TourTests : IDisposable
{
    private const int Classes = 10, Each = 5, Size = 40;

    private readonly TemporaryFolder folder = new();
    private readonly string before = Directory.GetCurrentDirectory();

    public TourTests() => Directory.SetCurrentDirectory(folder.Path);

    public void Dispose()
    {
        Directory.SetCurrentDirectory(before);
        folder.Dispose();
    }

    [Fact]
    public void Every_command_says_what_the_page_shows()
    {
        Photos();
        using (Model net = Model.Create("resnet18"))
            Safetensors.Write("resnet18.pth", net.Graph.Weights.Select(w =>
                new NamedArray(w.Key, w.Value.Tensor.Shape.ToArray(), w.Value.Tensor.ToArray())));
        string page = File.ReadAllText(Path.Combine(DocumentationTests.Root, "docs", "tour.md"));
        int commands = 0;
        foreach (Match part in Part().Matches(page))
        {
            string said = "";
            foreach (string line in part.Groups["commands"].Value.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                said += Tool.Run(Smaller(line).Split(' ')[1..]).MustSucceed().Out;
                commands++;
            }
            string[] first = [.. said.Split('\n').Select(FirstWord)];
            foreach (string shown in part.Groups["output"].Value.Split('\n', StringSplitOptions.RemoveEmptyEntries))
                Assert.True(first.Contains(FirstWord(shown)), $"the page shows '{shown}', and there is none of it in:\n{said}");
        }
        Assert.Equal(10, commands);
        Assert.True(File.Exists("output/mine.onnx") && File.Exists("output/ten.onnx"));
    }

    /// <summary>The same work in seconds.</summary>
    private static string Smaller(string command)
    {
        command = Regex.Replace(command, "--epochs [0-9]+", "");
        command = Regex.Replace(command, "--fine-tune-steps [0-9]+", "--fine-tune-steps 1");
        if (command.StartsWith("espalier train", StringComparison.Ordinal)) command += " --img-size 32 --epochs 2";
        return Regex.Replace(command.Trim(), " +", " ");
    }

    /// <summary>Numbers differ from run to run, and names of classes with them.</summary>
    private static string FirstWord(string line) => Regex.Replace(line.Trim().Split(' ')[0], "[0-9.]+", "0");

    private static void Photos()
    {
        foreach (string name in new[] { "apple", "bus", "cat", "door", "egg", "fish", "goat", "hat", "ink", "jar" })
        {
            Directory.CreateDirectory($"photos/{name}");
            for (int i = 0; i < Each; i++)
            {
                var image = new Image(Size, Size, 3);
                for (int p = 0; p < image.Pixels.Length; p++) image.Pixels[p] = (byte)(p / 3 % Size * (name[0] - 'a') * 9 + i + p % 3 * 40);
                PngWriter.Write($"photos/{name}/{i:000}.png", image);
            }
        }
    }

    [GeneratedRegex(@"^```sh\n(?<commands>.*?)^```\s+^```text\n(?<output>.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Part();
}
