using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace Espalier.Tests.Project;

/// <summary>Each folder of the library knows those before it in one list and nothing above.</summary>
public sealed partial class LayersTests
{
    /// <summary>Lowest first. A model file may be ONNX, and an ONNX file carries a model's card; few bits are a way to compress, and
    /// methods of compression train for few bits: these stand side by side.</summary>
    private static readonly string[][] Order =
    [
        ["Formats"], ["Imaging"], ["Data"], ["Nn"], ["Models"], ["Files", "Onnx"], ["Benchmarking"], ["Inference"], ["Evaluation"],
        ["Optim"], ["Clip"], ["Distributed"], ["Training"], ["Compression", "Quantization"], ["Reporting"],
    ];

    [Fact]
    public void NoFolderUsesOneAboveIt()
    {
        string library = Path.Combine(ThisFile(), "..", "..", "..", "..", "src", "Espalier");
        string[] folders = [.. Directory.GetDirectories(library).Select(f => Path.GetFileName(f)).Except(["bin", "obj"])];
        Assert.Empty(folders.Except(Order.SelectMany(x => x)));
        List<string> wrong = [];
        foreach (string folder in folders)
        {
            int level = Level(folder);
            foreach (string file in Directory.EnumerateFiles(Path.Combine(library, folder), "*.cs", SearchOption.AllDirectories))
            {
                string text = File.ReadAllText(file);
                Assert.Matches($@"(?m)^namespace Espalier(\.{folder}(\.\w+)*)?;", text);
                wrong.AddRange(Uses().Matches(text).Select(m => m.Groups["used"].Value).Distinct()
                    .Where(used => Level(used) > level).Select(used => $"{Path.GetRelativePath(library, file)} uses {used}"));
            }
        }
        Assert.Empty(wrong);
    }

    private static int Level(string folder) => Array.FindIndex(Order, level => level.Contains(folder));

    /// <summary>A using, or a name with its folder in front, such as Files.Model.</summary>
    [GeneratedRegex(@"^using (?:static |\w+ = )?Espalier\.(?<used>\w+)|(?<![.\w""])(?:Espalier\.)?(?<used>[A-Z]\w+)\.[A-Z]",
        RegexOptions.Multiline)]
    private static partial Regex Uses();

    private static string ThisFile([CallerFilePath] string path = "") => path;
}
