namespace Espalier.Cli.Tests.Verbs;

/// <summary>`compress vit-slim --budgets`: one search, and a file for each budget.</summary>
public sealed class CompressBudgetsTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly string model, output;

    public CompressBudgetsTests()
    {
        (model, output) = (folder.File("vit.safetensors"), folder.File("small.safetensors"));
        using Model vit = Model.Create("vit-tiny-28", 10, 1, 28);
        vit.Save(model);
    }

    public void Dispose() => folder.Dispose();

    [Fact]
    public void One_search_serves_all()
    {
        Outcome done = Tool.Run([.. Compress("vit-slim"), "--set", "token-start=1", "--budgets", "0.7,0.5", "--train-steps", "2",
            "--report", folder.File("page.json"), "--output", output]).MustSucceed();
        Assert.Single(Occurrences("search: 2 steps"));
        Assert.Single(Occurrences("has the search of"));
        string search = folder.File("small-search.safetensors");
        Assert.False(File.Exists(output));
        using Model whole = Model.Open(model);
        foreach (double budget in (double[])[0.7, 0.5])
        {
            string file = folder.File(FormattableString.Invariant($"small-{budget}.safetensors"));
            using Model small = Model.Open(file);
            double left = (double)small.Graph.CostPerImage.MultiplyAdds / whole.Graph.CostPerImage.MultiplyAdds;
            Assert.InRange(left, budget - 0.2, budget);
            Assert.True(File.Exists(folder.File(FormattableString.Invariant($"page-{budget}.json"))));
        }
        // The second run is the one that reads the search, as any later one would.
        string later = folder.File("later.safetensors");
        string set = $"token-start=1,searched={search}";
        Tool.Run([.. Compress("vit-slim"), "--target-flops", "0.7", "--set", set, "--output", later]).MustSucceed();
        Assert.Equal(File.ReadAllBytes(folder.File("small-0.7.safetensors")), File.ReadAllBytes(later));

        IEnumerable<string> Occurrences(string words) =>
            done.Out.Split('\n').Where(l => l.Contains(words, StringComparison.Ordinal));
    }

    /// <summary>Stopped behind the first budget, when the search is read for the second.</summary>
    [Fact]
    public void Goes_on_where_it_stopped()
    {
        string[] run = [.. Compress("vit-slim"), "--set", "token-start=1", "--budgets", "0.7,0.5", "--train-steps", "2"];
        string whole = folder.File("whole.safetensors");
        Tool.Run([.. run, "--output", whole]).MustSucceed();
        string[] parts = [.. run, "--output", output, "--output-dir", folder.File("states")];
        using var cancel = new CancellationTokenSource();
        Assert.Equal(130, Tool.Run(new CancellingWriter("has the search of", cancel), cancel.Token, parts).Code);
        Assert.False(File.Exists(folder.File("small-0.7.safetensors")));
        Assert.Contains("1-search has done its 2 steps already", Tool.Run([.. parts, "--resume"]).MustSucceed().Out);
        foreach (string budget in (string[])["0.5", "0.7"])
            Assert.Equal(File.ReadAllBytes(folder.File($"whole-{budget}.safetensors")),
                File.ReadAllBytes(folder.File($"small-{budget}.safetensors")));
    }

    [Theory]
    [InlineData("l1", "--budgets 0.7,0.5", "l1 has no search that serves several budgets")]
    [InlineData("vit-slim", "--budgets 0.7 --target-flops 0.5", "no other target")]
    [InlineData("vit-slim", "--budgets 0.7 --pretrain-steps 3", "--pretrain-steps would be done for each")]
    [InlineData("vit-slim", "--budgets 0.7,2", "--budgets must be a number from 0.001 to 0.999")]
    [InlineData("vit-slim", "--budgets 0.7,0.001 --train-steps 2", "no budget reaches 0.001")]
    public void What_cannot_be_is_refused_before_the_first_step(string method, string options, string message)
    {
        string error = Tool.Run([.. Compress(method), .. options.Split(' '), "--output", output]).MustFail(2);
        Assert.Contains(message, error, StringComparison.Ordinal);
        Assert.Equal([model], Directory.GetFiles(folder.Path));
    }

    private string[] Compress(string method) =>
    [
        "compress", method, "--model", model, "--data", "fashion-mnist-sample", "--fine-tune-steps", "2", "--batch-size", "8",
        "--optimizer", "adamw", "--threads", "2",
    ];
}
