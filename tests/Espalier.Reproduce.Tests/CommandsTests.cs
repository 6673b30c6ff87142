using System.CommandLine;
using System.Text.RegularExpressions;
using Espalier.Cli;

namespace Espalier.Reproduce.Tests;

[Collection("threads")]
public sealed partial class CommandsTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    /// <summary>From the embedded images to the page, as small as it gets.</summary>
    [Fact]
    public void An_experiment_trains_once_and_writes_its_section()
    {
        string page = Path.Combine(folder, "page", "results.md");
        string[] command = ["repr", "--tables", "paper", "--steps", "10", "--seeds", "7", "--output-dir", folder, "--output", page];
        Assert.Equal((0, ""), Run([.. command, "--train-only", "--threads", "1"]));
        Assert.False(File.Exists(page));
        DateTime trained = File.GetLastWriteTimeUtc(Path.Combine(folder, "vanilla-c3-repr-moved-7.json"));
        Assert.Equal((0, ""), Run([.. command, "--threads", "2"]));
        Assert.Equal(trained, File.GetLastWriteTimeUtc(Path.Combine(folder, "vanilla-c3-repr-moved-7.json")));
        string text = File.ReadAllText(page);
        Assert.StartsWith("# Results\n\n## RePr on Fashion-MNIST\n\n### The network of its paper\n", text);
        Assert.Matches("rounds sums differently\\. Processor time of the runs: [0-9]+ (seconds|minutes)\\. Measuring for this page took ", text);
        Assert.Contains($"\n{Commands.Start} repr --tables paper --steps 10 --seeds 7 --threads 2\n", text);
        Assert.Contains("The 6 runs were made by 1 thread of ", text);
        Assert.Matches(@"\n\| RePr, least overlap dropped \| [\d.]+ ± [\d.]+ \| [\d.]+ \| [\d.]+ ± [\d.]+ \| ", text);
    }

    /// <summary>All of them take longer than one would wait for without a word.</summary>
    [Fact]
    public void Every_experiment_says_how_long_it_takes() => Assert.All(Commands.Build(Context(TextWriter.Null)).Subcommands,
        verb => Assert.Contains(verb.Options, o => o.Name == "--plan"));

    [Theory]
    [InlineData("repr", "--tables", "paper", "--steps", "600", "--seeds", "1,2")]
    [InlineData("shapes", "--network", "vit-tiny-28", "--methods", "l1")]
    public void A_plan_is_hours_and_leaves_nothing(params string[] command)
    {
        var said = new StringWriter();
        int code = Commands.Run([.. command, "--plan", "--output-dir", Path.Combine(folder, "runs")],
            new CommandContext(new Terminal(said, said, false, 120), default));
        Assert.True(code == 0, said.ToString());
        Assert.Matches(@"\n *[0-9]+\.[0-9]{2} h  all, as fast as the machine is now", said.ToString());
        Assert.Empty(Directory.GetFiles(folder, "*", SearchOption.AllDirectories));
    }

    [Theory]
    [InlineData("unknown verb 'everything'", "everything")]
    [InlineData("--seeds takes whole numbers", "repr", "--seeds", "one")]
    [InlineData("unknown option '--target-flops'", "apt", "--target-flops", "0.5")]
    public void What_is_wrong_is_one_line(string line, params string[] args)
    {
        var (code, error) = Run(args);
        Assert.Equal(2, code);
        Assert.StartsWith("reproduce: ", error);
        Assert.Contains(line, error);
        Assert.Equal(1, error.Count(c => c == '\n'));
    }

    /// <summary>On the pages, in the help, and in the sections that are written.</summary>
    [Fact]
    public void Every_documented_command_parses()
    {
        DirectoryInfo? root = new(AppContext.BaseDirectory);
        while (root is not null && !File.Exists(Path.Combine(root.FullName, "Espalier.slnx"))) root = root.Parent;
        RootCommand commands = Commands.Build(Context(TextWriter.Null));
        string[] lines = [.. Directory.GetFiles(Path.Combine(root!.FullName, "docs"), "*.md", SearchOption.AllDirectories)
            .SelectMany(page => Command().Matches(File.ReadAllText(page).Replace("\\\n", "", StringComparison.Ordinal)))
            .Select(match => match.Groups["arguments"].Value)
            .Concat(commands.Subcommands.Cast<Verb>().SelectMany(verb => verb.Examples).Select(e => e[Commands.Start.Length..]))];
        foreach (string name in new[] { "apt", "filters", "repr" })
            Assert.Contains(lines, l => l.Trim().StartsWith($"{name} --", StringComparison.Ordinal));
        Assert.All(lines, line => Assert.Empty(commands.Parse(line.Trim()).Errors));
    }

    private static (int Code, string Error) Run(params string[] args)
    {
        var error = new StringWriter();
        return (Commands.Run(args, Context(error)), error.ToString());
    }

    private static CommandContext Context(TextWriter error) => new(new Terminal(TextWriter.Null, error, false, 120), default);

    [GeneratedRegex("--project reproduce --(?<arguments>[^`\n]+)")]
    private static partial Regex Command();
}
