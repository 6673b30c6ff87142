using System.CommandLine;

namespace Espalier.Cli.Tests;

public sealed class HelpTests
{
    /// <summary>Every verb, and those under it, as they are typed.</summary>
    public static TheoryData<string> Verbs => [.. Root().Subcommands
        .SelectMany(v => v.Subcommands.Select(s => $"{v.Name} {s.Name}").Prepend(v.Name))];

    [Theory, MemberData(nameof(Verbs))]
    public void Every_verb_shows_an_example(string verb)
    {
        Outcome outcome = Tool.Run([.. verb.Split(' '), "--help"]).MustSucceed();
        Assert.Contains($"  espalier {verb}", outcome.Out[outcome.Out.IndexOf("Example", StringComparison.Ordinal)..]);
    }

    [Fact]
    public void A_verbs_own_option_hides_the_general_one()
    {
        string bench = Tool.Run("bench", "--help").MustSucceed().Out, infer = Tool.Run("infer", "--help").MustSucceed().Out;
        Assert.Single(bench.Split('\n'), l => l.TrimStart().StartsWith("--threads", StringComparison.Ordinal));
        Assert.Single(infer.Split('\n'), l => l.TrimStart().StartsWith("--threads", StringComparison.Ordinal));
    }

    [Fact]
    public void The_examples_parse()
    {
        Command[] verbs = [.. Root().Subcommands.SelectMany(v => v.Subcommands.Prepend(v))];
        Assert.True(verbs.Length > 20, $"{verbs.Length} verbs");
        foreach (Command verb in verbs)
        {
            string[] examples = [.. Assert.IsType<Verb>(verb).Examples.Where(e => e.StartsWith("espalier ", StringComparison.Ordinal)
                && !e.Contains(" ... ", StringComparison.Ordinal))];
            Assert.True(examples.Length > 0, $"{verb.Name} has no example");
            Assert.All(examples, e => Assert.Empty(Root().Parse(e.Split(' ')[1..]).Errors));
        }
    }

    /// <summary>As a shell asks: the place of the cursor, and the line.</summary>
    [Theory]
    [InlineData("espalier tra", "train")]
    [InlineData("espalier compress ", "taylor")]
    [InlineData("espalier compress net", "network-slimming")]
    [InlineData("espalier train --optimizer ", "adamw")]
    [InlineData("espalier train --model-type regnet", "regnet_y_400mf")]
    [InlineData("espalier infer --conf", "--confusion")]
    public void A_shell_is_told_what_may_come_next(string line, string suggested) =>
        Assert.Contains(suggested, Tool.Run($"[suggest:{line.Length}]", line).MustSucceed().Out.Split('\n').Select(l => l.Trim()));

    [Fact]
    public void The_version_is_one_line() =>
        Assert.Matches(@"^espalier \d+\.\d+\.\d+\r?\n$", Tool.Run("--version").MustSucceed().Out);

    private static RootCommand Root() =>
        CommandLine.Build(new CommandContext(new Terminal(TextWriter.Null, TextWriter.Null, false, 80), default));
}
