using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using Espalier.Compression;

namespace Espalier.Tests.Compression;

/// <summary>
/// A method is its folder, the folder of its tests and a word in one array: nothing else names its types, so that taking these
/// away takes the method away and breaks nothing.
/// </summary>
public sealed class MethodFoldersTests
{
    private static readonly Regex Declares = new(
        @"^(?:public |internal |private |sealed |static |abstract |partial |readonly |file |unsafe )*"
        + @"(?:class|record struct|record|struct|interface|enum)\s+(\w+)", RegexOptions.Multiline);
    private static readonly Regex NoCode = new("""
        //[^\n]*|\"\"\"[\s\S]*?\"\"\"|"(?:[^"\\\n]|\\.)*"
        """.Trim());

    private static string Root { get; } = Path.GetFullPath(Path.Combine(ThisFile(), "..", "..", "..", ".."));

    [Fact]
    public void NothingElseNamesAMethodsTypes()
    {
        string compression = Path.Combine(Root, "src", "Espalier", "Compression");
        string array = Path.Combine(compression, "CompressionMethods.cs");
        string[] folders = Directory.GetDirectories(Path.Combine(compression, "Methods"));
        Assert.True(folders.Length >= 3, $"methods are in {string.Join(", ", folders)}");
        (string File, string Text)[] all = [.. new[] { "src", "reproduce", "tests" }
            .SelectMany(top => Sources(Path.Combine(Root, top))).Select(file => (file, Code(File.ReadAllText(file))))];
        var named = new List<string>();
        foreach (string folder in folders)
        {
            string name = Path.GetFileName(folder);
            string[] own = [folder + Path.DirectorySeparatorChar,
                Path.Combine(Root, "tests", "Espalier.Tests", "Compression", "Methods", name) + Path.DirectorySeparatorChar];
            string[] types = [.. all.Where(f => f.File.StartsWith(own[0], StringComparison.Ordinal))
                .SelectMany(f => Declares.Matches(f.Text)).Select(m => m.Groups[1].Value)];
            Assert.NotEmpty(types);
            var used = new Regex($@"(?<![.""\w])(?:{string.Join('|', types)})\b");
            named.AddRange(all.Where(f => f.File != array && !own.Any(o => f.File.StartsWith(o, StringComparison.Ordinal)))
                .SelectMany(f => used.Matches(f.Text).Select(m => $"{Path.GetRelativePath(Root, f.File)}: {m.Value} of {name}")));
        }
        Assert.True(named.Count == 0, string.Join("; ", named.Distinct()));
    }

    [Fact]
    public void EveryMethodIsOfSuchAFolder() => Assert.All(CompressionMethods.All, m =>
    {
        Assert.StartsWith("Espalier.Compression.Methods.", m.GetType().Namespace);
        Assert.Matches("^[a-z0-9]+(-[a-z0-9]+)*$", m.Name);
        Assert.False(string.IsNullOrWhiteSpace(m.Purpose));
    });

    private static IEnumerable<string> Sources(string folder) => Directory.EnumerateFiles(folder, "*.cs", SearchOption.AllDirectories)
        .Where(file => !file.Split(Path.DirectorySeparatorChar).Any(part => part is "obj" or "bin"));

    /// <summary>Comments and texts may name a method; references in documentation, which would no longer resolve, may not.
    /// </summary>
    private static string Code(string text) => NoCode.Replace(text, part => !part.Value.StartsWith('/') ? ""
        : string.Join(' ', Regex.Matches(part.Value, @"cref=""([^""]*)""").Select(m => m.Groups[1].Value)));

    private static string ThisFile([CallerFilePath] string path = "") => path;
}
