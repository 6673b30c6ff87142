using System.CommandLine;
using System.Text.RegularExpressions;

namespace Espalier.Cli.Tests;

/// <summary>What the READMEs and guides tell users to type, and where they send them, exists.</summary>
public sealed partial class DocumentationTests
{
    internal static readonly string Root = FindRoot();

    private static readonly string[] Files = [.. Directory.GetFiles(Root, "*.md")
        .Concat(Directory.GetFiles(Path.Combine(Root, "docs"), "*.md", SearchOption.AllDirectories))
        .Append(Path.Combine(Root, "models", "README.md"))
        .Select(path => Path.GetRelativePath(Root, path))];

    public static TheoryData<string> Pages => [.. Files];

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

    /// <summary>So is each page of a method, which says how it is called.</summary>
    [Fact]
    public void ThePagesOfMethodsAreLookedAt()
    {
        string[] pages = [.. Files.Where(f => f.StartsWith(Path.Combine("docs", "methods"), StringComparison.Ordinal))];
        Assert.Equal(Directory.GetFiles(Path.Combine(Root, "docs", "methods")).Length, pages.Length);
        foreach (string page in pages)
            Assert.Contains(Commands(File.ReadAllText(Path.Combine(Root, page))),
                c => c.StartsWith("espalier compress ", StringComparison.Ordinal));
    }

    /// <summary>The translation has the same parts in the same order: headings, tables, commands and links, not words.</summary>
    [Fact]
    public void Both_readmes_have_the_same_structure()
    {
        string[] english = Structure("README.md"), chinese = Structure("README.zh-CN.md");
        for (int i = 0; i < Math.Max(english.Length, chinese.Length); i++)
            Assert.True(i < english.Length && i < chinese.Length && english[i] == chinese[i],
                $"README.md has '{english.ElementAtOrDefault(i)}' where README.zh-CN.md has '{chinese.ElementAtOrDefault(i)}'");
    }

    private static string[] Structure(string page)
    {
        var parts = new List<string>();
        bool code = false;
        foreach (string line in File.ReadLines(Path.Combine(Root, page)))
        {
            if (line.StartsWith("```", StringComparison.Ordinal))
            {
                code = !code;
                parts.Add(line);
            }
            else if (code && line.StartsWith("espalier ", StringComparison.Ordinal)) parts.Add(string.Join(' ', line.Split(' ').Take(2)));
            else if (!code && line.StartsWith('#')) parts.Add(new string('#', line.TakeWhile(c => c == '#').Count()));
            else if (!code && line.StartsWith('|')) parts.Add($"row of {line.Count(c => c == '|')}");
            if (code) continue;
            foreach (Match link in Link().Matches(line))
                if (link.Groups["target"].Value is var target && !target.Contains("README", StringComparison.Ordinal)) parts.Add(target);
        }
        return [.. parts];
    }

    /// <summary>Lines of blocks of the shell or of no language, and code within lines, that begin with the command.</summary>
    private static IEnumerable<string> Commands(string text)
    {
        foreach (Match block in Block().Matches(text))
        {
            if (block.Groups["language"].Value is not ("sh" or "")) continue;
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

    [GeneratedRegex(@"^```(?<language>[^\n]*)\n(?<lines>.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Block();

    [GeneratedRegex(@"`(?<code>espalier [^`\n]+)`")]
    private static partial Regex InlineCode();

    [GeneratedRegex(@"\]\((?<target>[^)\s]+)\)")]
    private static partial Regex Link();
}
