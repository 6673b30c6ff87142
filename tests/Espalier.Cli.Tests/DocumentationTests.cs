using System.CommandLine;
using System.Text.RegularExpressions;

namespace Espalier.Cli.Tests;

/// <summary>What the READMEs and guides tell users to type, and where they send them, exists.</summary>
public sealed partial class DocumentationTests
{
    private static readonly string Root = FindRoot();

    public static TheoryData<string> Pages => [.. Directory.GetFiles(Root, "*.md")
        .Concat(Directory.GetFiles(Path.Combine(Root, "docs"), "*.md"))
        .Select(path => Path.GetRelativePath(Root, path))];

    [Theory, MemberData(nameof(Pages))]
    public void EveryCommandParses(string page)
    {
        RootCommand root = CommandLine.Build(new CommandContext(Terminal.OfProcess(), CancellationToken.None));
        foreach (string command in Commands(File.ReadAllText(Path.Combine(Root, page))))
        {
            IEnumerable<string> errors = root.Parse(command["espalier ".Length..]).Errors.Select(e => e.Message);
            Assert.True(!errors.Any(), $"{command}: {string.Join("; ", errors)}");
        }
    }

    [Theory, MemberData(nameof(Pages))]
    public void EveryLinkLeadsToAFile(string page)
    {
        string path = Path.Combine(Root, page);
        foreach (Match link in Link().Matches(File.ReadAllText(path)))
        {
            string target = link.Groups["target"].Value.Split('#')[0];
            if (target.Length == 0 || target.Contains("://", StringComparison.Ordinal)) continue;
            Assert.True(Path.Exists(Path.Combine(Path.GetDirectoryName(path)!, target)), $"{page}: no {target}");
        }
    }

    [Fact]
    public void TheReadmeIsLookedAt()
    {
        string[] commands = [.. Commands(File.ReadAllText(Path.Combine(Root, "README.md")))];
        foreach (string verb in new[] { "train", "infer", "predict", "profile", "report" })
            Assert.Contains(commands, c => c.StartsWith($"espalier {verb} ", StringComparison.Ordinal));
    }

    /// <summary>Lines of shell blocks, and code within lines, that begin with the command.</summary>
    private static IEnumerable<string> Commands(string text)
    {
        foreach (Match block in ShellBlock().Matches(text))
        {
            string joined = block.Groups["lines"].Value.Replace("\\\n", " ", StringComparison.Ordinal);
            foreach (string line in joined.Split('\n'))
                if (line.StartsWith("espalier ", StringComparison.Ordinal)) yield return line.Split('#')[0].Trim();
        }
        foreach (Match code in InlineCode().Matches(text)) yield return code.Groups["code"].Value;
    }

    private static string FindRoot()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Espalier.slnx"))) folder = folder.Parent;
        return folder?.FullName ?? throw new InvalidOperationException($"no Espalier.slnx above {AppContext.BaseDirectory}");
    }

    [GeneratedRegex(@"^```sh\n(?<lines>.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex ShellBlock();

    [GeneratedRegex(@"`(?<code>espalier [^`\n]+)`")]
    private static partial Regex InlineCode();

    [GeneratedRegex(@"\]\((?<target>[^)\s]+)\)")]
    private static partial Regex Link();
}
