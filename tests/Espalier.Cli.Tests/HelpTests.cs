namespace Espalier.Cli.Tests;

public sealed class HelpTests
{
    [Theory]
    [InlineData("demo")]
    [InlineData("train")]
    [InlineData("infer")]
    [InlineData("predict")]
    [InlineData("profile")]
    [InlineData("bench")]
    [InlineData("kernels")]
    [InlineData("export")]
    [InlineData("data")]
    [InlineData("data", "list")]
    [InlineData("data", "fetch")]
    [InlineData("data", "check")]
    [InlineData("report")]
    [InlineData("compress")]
    [InlineData("quantize")]
    [InlineData("compress", "sensitivity")]
    [InlineData("clip")]
    [InlineData("clip", "models")]
    [InlineData("clip", "tokenize")]
    [InlineData("clip", "classify")]
    [InlineData("clip", "probe")]
    [InlineData("clip", "search")]
    [InlineData("clip", "towers")]
    [InlineData("embed")]
    [InlineData("serve")]
    public void Every_verb_shows_an_example(params string[] verb)
    {
        Outcome outcome = Tool.Run([.. verb, "--help"]).MustSucceed();
        Assert.Contains($"  espalier {string.Join(' ', verb)}",
            outcome.Out[outcome.Out.IndexOf("Example", StringComparison.Ordinal)..]);
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
        var context = new CommandContext(new Terminal(TextWriter.Null, TextWriter.Null, false, 80), default);
        foreach (Verb verb in CommandLine.Build(context).Subcommands.SelectMany(v => v.Subcommands.Prepend(v)).OfType<Verb>())
            foreach (string example in verb.Examples.Where(e => !e.Contains(" ... ", StringComparison.Ordinal)))
                Assert.Empty(CommandLine.Build(context).Parse(example.Split(' ')[1..]).Errors);
    }

    [Fact]
    public void The_version_is_one_line() =>
        Assert.Matches(@"^espalier \d+\.\d+\.\d+\r?\n$", Tool.Run("--version").MustSucceed().Out);
}
