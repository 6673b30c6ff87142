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
            foreach (string example in verb.Examples.Where(e => e.StartsWith("espalier ", StringComparison.Ordinal) && !e.Contains(" ... ", StringComparison.Ordinal)))
                Assert.Empty(CommandLine.Build(context).Parse(example.Split(' ')[1..]).Errors);
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
}
