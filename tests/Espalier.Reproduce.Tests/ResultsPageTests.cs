namespace Espalier.Reproduce.Tests;

public sealed class ResultsPageTests : IDisposable
{
    private const string Page = "# Results\n\n## One\n\nfirst\n\n```sh\n## not a heading\n```\n\n## Two\n\nsecond\n";

    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void A_section_takes_the_place_of_its_older_self() =>
        Assert.Equal(Page.Replace("first\n\n```sh\n## not a heading\n```", "newer", StringComparison.Ordinal),
            ResultsPage.Replaced(Page, "## One\n\nnewer\n"));

    [Fact]
    public void A_new_section_comes_last() =>
        Assert.Equal(Page + "\n## Three\n\nthird\n", ResultsPage.Replaced(Page, "## Three\n\nthird\n"));

    [Fact]
    public void The_same_section_again_changes_nothing() => Assert.Equal(Page, ResultsPage.Replaced(Page, "## Two\n\nsecond\n"));

    private const string Parts = "# Results\n\n## One\n\nintroduction\n\n### a\n\nold a\n\n### b\n\nold b\n\n## Two\n\n### a\n\nother a\n";

    [Fact]
    public void A_section_of_parts_alone_takes_the_place_of_these()
    {
        Assert.Equal(Parts.Replace("old b", "new b", StringComparison.Ordinal), ResultsPage.Replaced(Parts, "## One\n\n### b\n\nnew b\n"));
        Assert.Equal(Parts.Replace("old b\n", "old b\n\n### c\n\nnew c\n", StringComparison.Ordinal),
            ResultsPage.Replaced(Parts, "## One\n\n### c\n\nnew c\n"));
        Assert.Equal(Parts + "\n## Three\n\n### b\n\nnew b\n", ResultsPage.Replaced(Parts, "## Three\n\n### b\n\nnew b\n"));
    }

    [Fact]
    public void One_that_says_something_first_is_the_whole_section() =>
        Assert.Equal("# Results\n\n## One\n\nall\n\n### b\n\nnew b\n\n## Two\n\n### a\n\nother a\n",
            ResultsPage.Replaced(Parts, "## One\n\nall\n\n### b\n\nnew b\n"));

    [Fact]
    public void A_page_is_begun_where_there_is_none()
    {
        string path = Path.Combine(folder, "results.md");
        ResultsPage.Write(path, "## One\n\nfirst\n");
        ResultsPage.Write(path, "## Two\n\nsecond\n");
        Assert.Equal("# Results\n\n## One\n\nfirst\n\n## Two\n\nsecond\n", File.ReadAllText(path));
    }
}
